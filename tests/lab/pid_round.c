/* round PID: starts processes until the next one gets this pid. append FILE TEXT: opens a file and appends to it. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "append")) {
        int file = open(words[2], O_RDWR | O_APPEND);
        return file < 0 || write(file, words[3], strlen(words[3])) < 0;
    }
    int wanted = atoi(words[2]);
    for (;;) {
        pid_t pid = vfork();
        if (pid == 0) _exit(0);
        if (pid < 0) continue;
        waitpid(pid, 0, 0);
        if (wanted - pid == 1) return 0;
    }
}
