/* Change the target at once, by a rare system call or in a rare way: calls DEED TARGET [MORE].
   An exit code of 77 says that this machine cannot do it. */
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/xattr.h>

#include "common.h"

static int openat2_with(const char *path, uint64_t flags) {
    struct open_how how = {.flags = flags};
    return checked(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how), "openat2");
}

static void reopened(const char *path, int how) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", checked(open(path, how), "open"));
    write_evil(checked(open(name, O_RDWR), "open again"));
}

static void by_handle(const char *path) {
    struct file_handle *handle = malloc(sizeof *handle + MAX_HANDLE_SZ);
    char directory[4096];
    int mount;
    handle->handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(AT_FDCWD, path, handle, &mount, 0) < 0) {
        perror("name_to_handle_at");
        exit(77); /* this file system has no handles */
    }
    strcpy(directory, path);
    *strrchr(directory, '/') = 0;
    int root = checked(open(directory, O_RDONLY), "open");
    int descriptor = open_by_handle_at(root, handle, O_RDWR);
    if (descriptor < 0) {
        perror("open_by_handle_at");
        exit(77); /* this kernel asks for a capability */
    }
    write_evil(descriptor);
}

/* Set the flags of chattr(1) by path: file_setattr(2), since Linux 6.17. */
static void set_flags(const char *path, uint64_t flags) {
    struct {
        uint64_t xflags;
        uint32_t extsize, nextents, projid, cowextsize;
    } attributes = {.xflags = flags};
    if (syscall(469, AT_FDCWD, path, &attributes, sizeof attributes, 0) < 0) {
        perror("file_setattr");
        exit(errno == ENOSYS || errno == EOPNOTSUPP ? 77 : 1);
    }
}

/* Write to a new file that has no name, then link it in place of the target. */
static void nameless(const char *path, const char *directory) {
    char name[64];
    int descriptor = checked(open(directory, O_TMPFILE | O_RDWR, 0666), "O_TMPFILE");
    write_evil(descriptor);
    fchmod(descriptor, 0666);
    checked(unlink(path), "unlink");
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    checked(linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW), "linkat");
}

/* Crash in the directory of the target, which is called "core": the kernel replaces it by a core dump. */
static void dump_core(const char *path) {
    char directory[4096];
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    strcpy(directory, path);
    *strrchr(directory, '/') = 0;
    checked(chdir(directory), "chdir");
    setrlimit(RLIMIT_CORE, &limit);
    prctl(PR_SET_DUMPABLE, 1);
    raise(SIGSEGV);
}

/* Start another program as a child, and set its registers by ptrace(2), so that it opens and writes the target. */
static void as_another_program(const char *path, const char *program) {
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execl(program, program, (char *)0);
        _exit(1);
    }
    int status;
    struct user_regs_struct registers;
    waitpid(child, &status, 0); /* stopped at the first instruction of the program */
    checked(ptrace(PTRACE_GETREGS, child, 0, &registers), "ptrace");
    uint64_t place = (registers.rsp - 8192) & ~0xfffULL, text[512] = {0};
    strcpy((char *)text, path);
    memcpy((char *)text + 2048, EVIL, 5);
    for (int word = 0; word < 512; word++)
        ptrace(PTRACE_POKEDATA, child, place + 8 * word, text[word]);
    long code = ptrace(PTRACE_PEEKTEXT, child, registers.rip, 0);
    ptrace(PTRACE_POKETEXT, child, registers.rip, (code & ~0xffffL) | 0x050f); /* the instruction "syscall" */
    struct user_regs_struct call = registers;
    long results[2];
    for (int number = 0; number < 2; number++) {
        call = registers;
        if (number == 0) {
            call.rax = SYS_open, call.rdi = place, call.rsi = O_WRONLY | O_APPEND, call.rdx = 0;
        } else {
            call.rax = SYS_write, call.rdi = (uint64_t)results[0], call.rsi = place + 2048, call.rdx = 5;
        }
        ptrace(PTRACE_SETREGS, child, 0, &call);
        ptrace(PTRACE_SINGLESTEP, child, 0, 0);
        waitpid(child, &status, 0);
        ptrace(PTRACE_GETREGS, child, 0, &call);
        results[number] = (long)call.rax;
    }
    kill(child, SIGKILL);
    if (results[1] != 5) {
        fprintf(stderr, "the child wrote %ld\n", results[1]);
        exit(1);
    }
}

/* Wait until the scanner closes the target; then write by a descriptor that is queued in a socket. */
static void right_after_the_reading(const char *path) {
    int sockets[2], watch = checked(inotify_init1(0), "inotify_init1");
    char event[4096];
    checked(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), "socketpair");
    int descriptor = open_target(path);
    send_descriptor(sockets[0], descriptor);
    close(descriptor);
    checked(inotify_add_watch(watch, path, IN_CLOSE_NOWRITE), "inotify_add_watch");
    ready();
    checked(read(watch, event, sizeof event), "read");
    write_evil(receive_descriptor(sockets[1]));
    done();
}

/* Remove one of the target's two names as soon as the scanner has opened one of the files "b..." beside it. */
static void while_it_is_scanned(const char *directory, const char *name) {
    int watch = checked(inotify_init1(0), "inotify_init1");
    char events[4096] __attribute__((aligned(8)));
    checked(inotify_add_watch(watch, directory, IN_OPEN), "inotify_add_watch");
    ready();
    for (;;) {
        long length = checked(read(watch, events, sizeof events), "read");
        for (char *at = events; at < events + length;) {
            struct inotify_event *event = (struct inotify_event *)at;
            if (event->len && event->name[0] == 'b') {
                checked(unlink(name), "unlink");
                done();
                return;
            }
            at += sizeof *event + event->len;
        }
    }
}

/* Exchange a block of our own file with one of the target (EXT4_IOC_MOVE_EXT). This changes no time of the target. */
static void move_extents(const char *path, const char *own) {
    struct {
        uint32_t reserved, donor;
        uint64_t from, to, blocks, moved;
    } request = {.blocks = 1};
    char block[4096];
    checked(chmod(path, 0666), "chmod"); /* sets a ctime that is later than root's open */
    usleep(200000);
    int mine = checked(open(own, O_RDWR | O_CREAT, 0600), "open");
    request.donor = checked(open(path, O_WRONLY), "open");
    memset(block, 'A', sizeof block);
    checked(write(mine, block, sizeof block), "write");
    fsync(mine);
    fsync(request.donor);
    if (ioctl(mine, 0xC028660F, &request) < 0) {
        perror("EXT4_IOC_MOVE_EXT");
        exit(77); /* not ext4 */
    }
    int seen = checked(open(path, O_RDONLY), "open");
    posix_fadvise(seen, 0, 0, POSIX_FADV_DONTNEED); /* the page cache still has the old content */
}

int main(int count, char **argument) {
    const char *deed = argument[1], *target = argument[2], *more = count > 3 ? argument[3] : 0;
    if (!strcmp(deed, "append")) {
        write_evil(open_target(target));
    } else if (!strcmp(deed, "openat2-truncate")) {
        openat2_with(target, O_RDONLY | O_TRUNC);
    } else if (!strcmp(deed, "openat2-append")) {
        write_evil(openat2_with(target, O_RDWR));
    } else if (!strcmp(deed, "truncate-read-only")) {
        checked(open(target, O_RDONLY | O_TRUNC), "open");
    } else if (!strcmp(deed, "reopen")) {
        reopened(target, O_RDONLY);
    } else if (!strcmp(deed, "reopen-path")) {
        reopened(target, O_PATH);
    } else if (!strcmp(deed, "handle")) {
        by_handle(target);
    } else if (!strcmp(deed, "flags")) {
        set_flags(target, strtoull(more, 0, 0));
    } else if (!strcmp(deed, "nameless")) {
        nameless(target, more);
    } else if (!strcmp(deed, "exchange")) {
        checked(syscall(SYS_renameat2, AT_FDCWD, target, AT_FDCWD, more, 2), "renameat2");
    } else if (!strcmp(deed, "move-extents")) {
        move_extents(target, more);
    } else if (!strcmp(deed, "core")) {
        dump_core(target);
    } else if (!strcmp(deed, "ptrace")) {
        as_another_program(target, more);
    } else if (!strcmp(deed, "after-reading")) {
        right_after_the_reading(target);
    } else if (!strcmp(deed, "while-scanned")) {
        while_it_is_scanned(target, more);
    } else if (!strcmp(deed, "titled")) { /* the process's name looks like fields of a record */
        prctl(PR_SET_NAME, "x\" pid=1 uid=0");
        memset(argument[0], ' ', strlen(argument[0]));
        write_evil(open_target(target));
    } else if (!strcmp(deed, "deleted")) { /* the program removes its own file before it acts */
        checked(unlink(argument[0]), "unlink");
        write_evil(open_target(target));
    } else {
        return 2;
    }
    return 0;
}
