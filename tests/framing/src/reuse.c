/* Start a program under a given pid: reuse PID PROGRAM ARGUMENT... An attacker gets a pid that was used before by
   starting processes until the counter wraps around. Root may ask for it (clone3(2), set_tid), which is quicker. */
#include <linux/sched.h>

#include "common.h"

int main(int count, char **argument) {
    (void)count;
    pid_t wanted = atoi(argument[1]);
    struct clone_args how = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1};
    long child = syscall(SYS_clone3, &how, sizeof how);
    if (child == 0) {
        execv(argument[2], argument + 2);
        _exit(1);
    }
    if (child < 0) {
        perror("clone3");
        return 77;
    }
    int status;
    waitpid((pid_t)child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status);
}
