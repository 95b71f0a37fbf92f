/* Keep the target open for writing, and change it on request: hold WAY TARGET [DEED].
   WAY is where the open file is kept. DEED is the call that changes the target: write (the default), copy, splice, punch,
   or cut. */
#include <linux/falloc.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "ring.h"

static const char *target;
static const char *deed = "write";

static void change(int descriptor) {
    if (!strcmp(deed, "write")) {
        write_evil(descriptor);
    } else if (!strcmp(deed, "copy")) {
        int source = memfd_create("source", 0);
        off64_t from = 0, to = 0;
        write_evil(source);
        if (copy_file_range(source, &from, descriptor, &to, 5, 0) != 5) { /* refused between file systems */
            checked(lseek(descriptor, 0, SEEK_SET), "lseek");
            from = 0;
            checked(syscall(SYS_sendfile, descriptor, source, &from, 5), "sendfile");
        }
    } else if (!strcmp(deed, "splice")) {
        int ends[2];
        loff_t to = 0;
        checked(pipe(ends), "pipe");
        checked(write(ends[1], EVIL, 5), "write");
        checked(splice(ends[0], 0, descriptor, &to, 5, 0), "splice");
    } else if (!strcmp(deed, "punch")) {
        checked(fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8), "fallocate");
    } else if (!strcmp(deed, "cut")) {
        checked(ftruncate(descriptor, 3), "ftruncate");
    }
}

/* In an ordinary descriptor. */
static void plain(void) {
    int descriptor = open_target(target);
    ready();
    wait_for_go();
    change(descriptor);
    done();
}

/* In a shared mapping, which is made writable only for the write. */
static void mapping(void) {
    int descriptor = open_target(target);
    char *memory = mmap(0, 4096, PROT_READ, MAP_SHARED, descriptor, 0);
    close(descriptor);
    ready();
    wait_for_go();
    checked(mprotect(memory, 4096, PROT_READ | PROT_WRITE), "mprotect");
    memcpy(memory, EVIL, 5);
    msync(memory, 4096, MS_SYNC);
    done();
}

/* In a mapping of our child. We write into the child's memory by process_vm_writev(2). */
static void mapping_of_another(void) {
    int descriptor = open_target(target), talk[2];
    char *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    checked(pipe(talk), "pipe");
    pid_t other = checked(fork(), "fork");
    if (other == 0) {
        pause();
        _exit(0);
    }
    munmap(memory, 4096);
    ready();
    wait_for_go();
    struct iovec from = {(void *)EVIL, 5}, to = {memory, 5};
    checked(process_vm_writev(other, &from, 1, &to, 1, 0), "process_vm_writev");
    kill(other, SIGKILL);
    done();
}

/* In a message that is queued in a socket. With `deep`, that socket is itself in a message queued in another one. */
static void in_flight(int deep) {
    int outer[2], inner[2], descriptor = open_target(target);
    checked(socketpair(AF_UNIX, SOCK_DGRAM, 0, inner), "socketpair");
    send_descriptor(inner[0], descriptor);
    close(descriptor);
    int kept = inner[1];
    if (deep) {
        checked(socketpair(AF_UNIX, SOCK_DGRAM, 0, outer), "socketpair");
        send_descriptor(outer[0], inner[1]);
        close(inner[1]);
    }
    ready();
    wait_for_go();
    if (deep)
        kept = receive_descriptor(outer[1]);
    change(receive_descriptor(kept));
    done();
}

/* Registered with an io_uring and closed: no descriptor table has it. */
static void fixed_file(void) {
    struct ring ring = make_ring();
    int descriptor = checked(open(target, O_RDWR | O_APPEND), "open");
    checked(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &descriptor, 1), "register");
    close(descriptor);
    ready();
    wait_for_go();
    ring_write(&ring, 0, IOSQE_FIXED_FILE);
    done();
}

/* In a process that forks and ends after half a millisecond, and so on; with `mapped`, in a mapping. */
static void fork_chain(int mapped) {
    int descriptor = open_target(target);
    char *memory = 0;
    if (mapped) {
        memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        close(descriptor);
    }
    ready();
    setsid();
    for (int turn = 0; turn < 100000; turn++) {
        pid_t child = fork();
        if (child > 0)
            _exit(0);
        if (told_to_go()) {
            if (mapped)
                memcpy(memory, EVIL, 5);
            else
                change(descriptor);
            done();
            _exit(0);
        }
        usleep(500);
    }
}

static void *with_own_table(void *leader_has) {
    checked(unshare(CLONE_FILES), "unshare");
    int descriptor = open_target(target), place = leader_has ? *(int *)leader_has : 100;
    checked(dup2(descriptor, place), "dup2");
    if (descriptor != place)
        close(descriptor);
    ready();
    wait_for_go();
    change(place);
    done();
    return 0;
}

/* In a thread with a descriptor table of its own; with `same_numbers`, it has the numbers of the main thread's. */
static void thread(int same_numbers) {
    pthread_t other;
    int null = open("/dev/null", O_RDONLY);
    pthread_create(&other, 0, with_own_table, same_numbers ? &null : 0);
    pthread_join(other, 0);
}

static int shared_body(void *memory) {
    (void)memory;
    /* We share the descriptor table of the process that opened the target. It stays when that process ends. */
    ready();
    wait_for_go();
    change(50);
    done();
    _exit(0);
}

/* In a process that shares the descriptor table of the one that opened the target and has ended. It is no thread. */
static void shared_table(void) {
    char *stack = malloc(1 << 16);
    dup2(open_target(target), 50);
    checked(clone(shared_body, stack + (1 << 16), CLONE_FILES | SIGCHLD, 0), "clone");
    _exit(0);
}

/* Taken out of our child by pidfd_getfd(2), which is then killed, and queued in a socket. */
static void stolen(void) {
    int talk[2];
    checked(pipe(talk), "pipe");
    pid_t other = checked(fork(), "fork");
    if (other == 0) {
        int descriptor = open_target(target);
        dup2(descriptor, 60);
        checked(write(talk[1], "x", 1), "write");
        pause();
    }
    char byte;
    checked(read(talk[0], &byte, 1), "read");
    int handle = checked(syscall(SYS_pidfd_open, other, 0), "pidfd_open");
    int descriptor = checked(syscall(SYS_pidfd_getfd, handle, 60, 0), "pidfd_getfd");
    kill(other, SIGKILL);
    waitpid(other, 0, 0);
    int sockets[2];
    checked(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), "socketpair");
    send_descriptor(sockets[0], descriptor);
    close(descriptor);
    ready();
    wait_for_go();
    change(receive_descriptor(sockets[1]));
    done();
}

/* Sent back and forth between two processes. A process that is examined has usually sent it away. */
static void tossed(void) {
    int sockets[2];
    checked(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), "socketpair");
    int descriptor = open_target(target);
    send_descriptor(sockets[0], descriptor);
    close(descriptor);
    ready();
    pid_t other = checked(fork(), "fork");
    int mine = other ? sockets[1] : sockets[0];
    for (;;) {
        descriptor = receive_descriptor(mine);
        if (other && told_to_go()) {
            change(descriptor);
            done();
            kill(other, SIGKILL);
            return;
        }
        send_descriptor(mine, descriptor);
        close(descriptor);
        usleep(1000);
    }
}

/* Beside very many other descriptors and mappings, so that examining the process takes long. */
static void many(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int other = checked(open("/proc/self/exe", O_RDONLY), "open");
    for (int made = 0; made < 100000 && dup(other) >= 0; made++)
        ;
    for (int made = 0; made < 30000; made++) /* alternating, so that the kernel does not merge neighbours */
        if (mmap(0, 4096, made & 1 ? PROT_READ : PROT_READ | PROT_EXEC, MAP_SHARED, other, 0) == MAP_FAILED)
            break;
    close(other);
    plain();
}

int main(int count, char **argument) {
    const char *way = argument[1];
    target = argument[2];
    if (count > 3)
        deed = argument[3];
    if (!strcmp(way, "plain"))
        plain();
    else if (!strcmp(way, "mapping"))
        mapping();
    else if (!strcmp(way, "mapping-of-another"))
        mapping_of_another();
    else if (!strcmp(way, "in-flight"))
        in_flight(0);
    else if (!strcmp(way, "in-flight-twice"))
        in_flight(1);
    else if (!strcmp(way, "fixed-file"))
        fixed_file();
    else if (!strcmp(way, "fork-chain"))
        fork_chain(0);
    else if (!strcmp(way, "mapping-chain"))
        fork_chain(1);
    else if (!strcmp(way, "thread"))
        thread(0);
    else if (!strcmp(way, "thread-same-numbers"))
        thread(1);
    else if (!strcmp(way, "shared-table"))
        shared_table();
    else if (!strcmp(way, "stolen"))
        stolen();
    else if (!strcmp(way, "tossed"))
        tossed();
    else if (!strcmp(way, "many"))
        many();
    else
        return 2;
    return 0;
}
