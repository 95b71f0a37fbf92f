/* Opens a file for writing, keeps it open in one of many ways, and appends to it once a certain other file exists.
 *
 *     hidden_holder WAY FILE GO
 *
 * Prints "ready" when it holds the file, or the name of what failed. Ends when it has written.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *file, *go;
static char text[] = "hidden\n";

static void need(int fine, const char *what) {
    if (fine)
        return;
    printf("%s failed\n", what);
    fflush(stdout);
    _exit(1);
}

static int opened(void) {
    int fd = open(file, O_RDWR | O_APPEND);
    need(fd >= 0, "open");
    return fd;
}

static void ready(void) {
    printf("ready\n");
    fflush(stdout);
}

static void wait_for_go(void) {
    while (access(go, F_OK))
        usleep(5000);
}

static void write_to(int fd) {
    need(write(fd, text, sizeof text - 1) == sizeof text - 1, "write");
    _exit(0);
}

/* ---- sockets */

static void give(int socket, int fd) {
    char control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    need(sendmsg(socket, &message, 0) == 1, "sendmsg");
    close(fd);
}

static int taken(int socket) {
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int fd;
    need(recvmsg(socket, &message, 0) == 1, "recvmsg");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static void in_flight(int nested) {
    int outer[2], inner[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, outer);
    if (nested) {
        /* In a socket that is itself in flight. */
        socketpair(AF_UNIX, SOCK_DGRAM, 0, inner);
        give(inner[0], opened());
        close(inner[0]);
        give(outer[0], inner[1]);
    } else
        give(outer[0], opened());
    ready();
    wait_for_go();
    write_to(nested ? taken(taken(outer[1])) : taken(outer[1]));
}

/* ---- io_uring */

/* Of Linux 6.5, in headers that may be older: the ring's memory is ours, and it has no descriptor. */
#define NO_MMAP (1U << 14)
#define REGISTERED_FD_ONLY (1U << 15)
#define USE_REGISTERED_RING (1U << 31)

struct ring {
    int fd, entered;
    unsigned enter_flags;
    unsigned *tail, *mask, *array;
    struct io_uring_sqe *entries;
};

static struct ring new_ring(unsigned flags) {
    struct io_uring_params with = {.flags = flags};
    struct ring ring = {0};
    char *queue;
    if (flags & NO_MMAP) {
        queue = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ring.entries = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        with.cq_off.resv2 = (uintptr_t)queue; /* now user_addr */
        with.sq_off.resv2 = (uintptr_t)ring.entries;
    }
    ring.fd = syscall(__NR_io_uring_setup, 4, &with);
    need(ring.fd >= 0, "io_uring_setup");
    if (!(flags & NO_MMAP)) {
        queue = mmap(0, with.sq_off.array + with.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
        ring.entries = mmap(0, with.sq_entries * sizeof *ring.entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
        need(queue != MAP_FAILED && ring.entries != MAP_FAILED, "mmap of a ring");
    }
    ring.enter_flags = flags & REGISTERED_FD_ONLY ? IORING_ENTER_REGISTERED_RING : 0;
    ring.tail = (void *)(queue + with.sq_off.tail);
    ring.mask = (void *)(queue + with.sq_off.ring_mask);
    ring.array = (void *)(queue + with.sq_off.array);
    return ring;
}

static void register_file(struct ring *ring) {
    int fd = opened();
    unsigned code = IORING_REGISTER_FILES | (ring->enter_flags ? USE_REGISTERED_RING : 0);
    need(syscall(__NR_io_uring_register, ring->fd, code, &fd, 1) == 0, "io_uring_register");
    close(fd);
}

static void write_by(struct ring *ring) {
    unsigned at = *ring->tail & *ring->mask;
    struct io_uring_sqe *entry = &ring->entries[at];
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_WRITE;
    entry->flags = IOSQE_FIXED_FILE;
    entry->addr = (uintptr_t)text;
    entry->len = sizeof text - 1;
    entry->off = -1;
    ring->array[at] = at;
    __atomic_store_n(ring->tail, *ring->tail + 1, __ATOMIC_RELEASE);
    unsigned flags = IORING_ENTER_GETEVENTS | ring->enter_flags;
    need(syscall(__NR_io_uring_enter, ring->fd, 1, 1, flags, 0, 0) == 1, "io_uring_enter");
    _exit(0);
}

static void in_ring(unsigned flags) {
    struct ring ring = new_ring(flags);
    register_file(&ring);
    ready();
    wait_for_go();
    write_by(&ring);
}

/* ---- processes and threads */

static void fork_chain(void) {
    int fd = opened();
    ready();
    setsid();
    for (long links = 0; links < 200000; links++) {
        pid_t child = fork();
        if (child > 0)
            _exit(0);
        if (child == 0 && !access(go, F_OK))
            write_to(fd);
        usleep(300);
    }
}

static void *own_table(void *unused) {
    need(unshare(CLONE_FILES) == 0, "unshare");
    /* The same number that stands for /dev/null in the leader's table. */
    int fd = opened();
    dup2(fd, 3);
    if (fd != 3)
        close(fd);
    ready();
    wait_for_go();
    write_to(3);
    return unused;
}

static void in_thread(int leader_ends) {
    pthread_t thread;
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    need(open("/dev/null", O_RDWR) == 3, "open of /dev/null");
    pthread_create(&thread, 0, own_table, 0);
    if (leader_ends)
        pthread_exit(0);
    pthread_join(thread, 0);
}

static int pipe_ends[2], spliced;

static void *splice_from_pipe(void *unused) {
    need(splice(pipe_ends[0], 0, spliced, 0, sizeof text - 1, 0) == sizeof text - 1, "splice");
    _exit(0);
    return unused;
}

static void in_blocked_call(void) {
    /* The call holds the file, while another thread closes the descriptor. */
    pthread_t thread;
    need(pipe(pipe_ends) == 0, "pipe");
    spliced = open(file, O_RDWR);
    need(spliced >= 0, "open");
    pthread_create(&thread, 0, splice_from_pipe, 0);
    usleep(100000);
    close(spliced);
    ready();
    wait_for_go();
    need(write(pipe_ends[1], text, sizeof text - 1) > 0, "write to the pipe");
    pthread_join(thread, 0);
}

/* ---- memory */

static void mapped(int among) {
    int fd = opened(), reading = open(file, O_RDONLY);
    /* Not one that can be written to now, and among others that never can. */
    for (int at = 0; at < among; at++)
        need(mmap(0, 4096, PROT_READ, MAP_SHARED, reading, 0) != MAP_FAILED, "mmap");
    char *memory = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    need(memory != MAP_FAILED, "mmap");
    close(fd);
    close(reading);
    ready();
    wait_for_go();
    need(mprotect(memory, 4096, PROT_READ | PROT_WRITE) == 0, "mprotect");
    memcpy(memory, text, sizeof text - 1);
    need(msync(memory, 4096, MS_SYNC) == 0, "msync");
    _exit(0);
}

int main(int count, char **arguments) {
    const char *way = count > 3 ? arguments[1] : "";
    need(count > 3, "usage");
    file = arguments[2];
    go = arguments[3];
    if (!strcmp(way, "plain") || !strcmp(way, "undumpable")) {
        int fd = opened();
        if (*way == 'u')
            prctl(PR_SET_DUMPABLE, 0);
        ready();
        wait_for_go();
        write_to(fd);
    }
    else if (!strcmp(way, "mapped"))
        mapped(0);
    else if (!strcmp(way, "mapped-among-others"))
        mapped(2000);
    else if (!strcmp(way, "in-flight"))
        in_flight(0);
    else if (!strcmp(way, "in-flight-nested"))
        in_flight(1);
    else if (!strcmp(way, "ring"))
        in_ring(0);
    else if (!strcmp(way, "ring-without-descriptor"))
        in_ring(NO_MMAP | REGISTERED_FD_ONLY);
    else if (!strcmp(way, "fork-chain"))
        fork_chain();
    else if (!strcmp(way, "thread"))
        in_thread(0);
    else if (!strcmp(way, "thread-of-an-ended-leader"))
        in_thread(1);
    else if (!strcmp(way, "blocked-call"))
        in_blocked_call();
    need(0, way);
}
