/* Change the target by another name, by memory, or by a rare call: odd DEED TARGET [MORE].
   Some deeds keep something of the target, print "ready" and wait. The others act at once. */
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "ring.h"
#include <sys/mount.h>

static void write_by_descriptor(int kept) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", kept);
    write_evil(checked(open(name, O_RDWR), "open again"));
}

/* Link the target elsewhere, keep a descriptor of that name that cannot write, and remove the name. An open by the
   descriptor has, for the kernel's rules, the removed name, which is not below the watched directory. */
static int removed_name(const char *path, const char *other, int how) {
    checked(link(path, other), "link");
    int kept = checked(open(other, how), "open");
    checked(unlink(other), "unlink");
    return kept;
}

static void by_removed_name(const char *path, const char *other, int how) {
    int kept = removed_name(path, other, how);
    ready();
    wait_for_go();
    write_by_descriptor(kept);
    done();
}

static void by_removed_name_in_flight(const char *path, const char *other) {
    int sockets[2], kept = removed_name(path, other, O_PATH);
    checked(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), "socketpair");
    send_descriptor(sockets[0], kept);
    close(kept);
    ready();
    wait_for_go();
    write_by_descriptor(receive_descriptor(sockets[1]));
    done();
}

/* Create a file elsewhere without a name (O_TMPFILE), keep a descriptor of it, and link it in place of the target. */
static void by_nameless(const char *path, const char *directory) {
    char name[64];
    int made = checked(open(directory, O_TMPFILE | O_RDWR, 0666), "O_TMPFILE");
    checked(fchmod(made, 0666), "fchmod");
    checked(write(made, "one\n", 4), "write");
    checked(unlink(path), "unlink");
    snprintf(name, sizeof name, "/proc/self/fd/%d", made);
    checked(linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW), "linkat");
    int kept = checked(open(name, O_PATH), "open");
    close(made);
    ready();
    wait_for_go();
    write_by_descriptor(kept);
    done();
}

/* Link the target elsewhere, mount that name in our own namespace, and remove it. The mount keeps it. */
static void by_bound_name(const char *path, const char *elsewhere) {
    char name[4096], place[4096];
    snprintf(name, sizeof name, "%s/alias", elsewhere);
    snprintf(place, sizeof place, "%s/place", elsewhere);
    checked(link(path, name), "link");
    close(checked(open(place, O_WRONLY | O_CREAT, 0666), "open"));
    checked(mount(name, place, 0, MS_BIND, 0), "mount");
    checked(unlink(name), "unlink");
    ready();
    wait_for_go();
    write_evil(open_target(place));
    done();
}

/* As by_bound_name, by calls that no rule for mounts reports. The mount is in a tree that is in no namespace. */
static void by_detached_name(const char *path, const char *elsewhere) {
    char name[4096], place[4096];
    snprintf(name, sizeof name, "%s/alias", elsewhere);
    snprintf(place, sizeof place, "%s/place", elsewhere);
    checked(link(path, name), "link");
    close(checked(open(place, O_WRONLY | O_CREAT, 0666), "open"));
    checked(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare");
    int bound = checked(syscall(SYS_open_tree, AT_FDCWD, name, 1 /* OPEN_TREE_CLONE */), "open_tree");
    checked(syscall(SYS_move_mount, bound, "", AT_FDCWD, place, 4 /* MOVE_MOUNT_F_EMPTY_PATH */), "move_mount");
    int tree = checked(syscall(SYS_open_tree, AT_FDCWD, elsewhere, 1 | AT_RECURSIVE), "open_tree");
    checked(umount2(place, MNT_DETACH), "umount2");
    close(bound);
    checked(unlink(name), "unlink");
    ready();
    wait_for_go();
    write_evil(checked(openat(tree, "place", O_RDWR), "openat"));
    done();
}

/* Register mapped memory of the target as a buffer of an io_uring, then unmap and close the target. */
static void by_buffer(const char *path) {
    struct ring ring = make_ring();
    int ends[2], descriptor = open_target(path);
    char *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    struct iovec buffer = {memory, 4096};
    if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &buffer, 1) < 0) {
        perror("IORING_REGISTER_BUFFERS");
        exit(77); /* not possible with files of this file system */
    }
    munmap(memory, 4096);
    close(descriptor);
    checked(pipe(ends), "pipe");
    ready();
    wait_for_go();
    checked(write(ends[1], EVIL, 5), "write");
    submit(&ring, (struct io_uring_sqe){.opcode = IORING_OP_READ_FIXED, .fd = ends[0], .addr = (uintptr_t)memory,
                                        .len = 5, .off = (uint64_t)-1});
    done();
}

/* As by_buffer, with an io_uring that has neither descriptor nor mapping: only the thread has it registered. */
static void by_hidden_buffer(const char *path) {
    int ends[2], descriptor = open_target(path), both = PROT_READ | PROT_WRITE;
    char *queues = mmap(0, 8192, both, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct io_uring_sqe *entries = mmap(0, 4096, both, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct io_uring_params p = {.flags = 1U << 14 | 1U << 15}; /* IORING_SETUP_NO_MMAP, _REGISTERED_FD_ONLY */
    *(uint64_t *)((char *)&p.cq_off + 32) = (uintptr_t)queues; /* user_addr */
    *(uint64_t *)((char *)&p.sq_off + 32) = (uintptr_t)entries;
    int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0) {
        perror("io_uring_setup");
        exit(77);
    }
    char *memory = mmap(0, 4096, both, MAP_SHARED, descriptor, 0);
    struct iovec buffer = {memory, 4096};
    if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS | 1U << 31, &buffer, 1) < 0) {
        perror("IORING_REGISTER_BUFFERS");
        exit(77); /* not possible with files of this file system */
    }
    munmap(memory, 4096);
    close(descriptor);
    checked(pipe(ends), "pipe");
    ready();
    wait_for_go();
    checked(write(ends[1], EVIL, 5), "write");
    entries[0] = (struct io_uring_sqe){.opcode = IORING_OP_READ_FIXED, .fd = ends[0], .addr = (uintptr_t)memory, .len = 5,
                                       .off = (uint64_t)-1};
    ((unsigned *)(queues + p.sq_off.array))[0] = 0;
    __atomic_store_n((unsigned *)(queues + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    checked(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS | 1U << 4, 0, 0), "io_uring_enter");
    done();
}

/* Take a lease on the target, and let a child open it for writing. The open waits until the lease ends. */
static void after_a_lease(const char *path) {
    int reader = checked(open(path, O_RDONLY), "open"), talk[2];
    checked(pipe(talk), "pipe");
    signal(SIGIO, SIG_IGN);
    checked(fcntl(reader, F_SETLEASE, F_RDLCK), "F_SETLEASE");
    if (checked(fork(), "fork") == 0) {
        close(reader);
        write_evil(open_target(path));
        checked(write(talk[1], "x", 1), "write");
        _exit(0);
    }
    usleep(200000);
    ready();
    wait_for_go();
    fcntl(reader, F_SETLEASE, F_UNLCK); /* fails if the kernel has ended the lease (fs.lease-break-time) */
    char byte;
    checked(read(talk[0], &byte, 1), "read");
    done();
}

static void set_times(int descriptor, long seconds) {
    struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
    checked(syscall(SYS_utimensat, descriptor, 0, times, 0), "futimens");
}

static void toggle_flags(int descriptor) {
    int flags = 0;
    checked(ioctl(descriptor, FS_IOC_GETFLAGS, &flags), "FS_IOC_GETFLAGS");
    flags ^= FS_NODUMP_FL;
    checked(ioctl(descriptor, FS_IOC_SETFLAGS, &flags), "FS_IOC_SETFLAGS");
    flags ^= FS_NODUMP_FL;
    checked(ioctl(descriptor, FS_IOC_SETFLAGS, &flags), "FS_IOC_SETFLAGS");
}

/* Make a call of i386 from a 64-bit program. Its pointers have to fit into 32 bits (see `low`). */
static long call32(long number, long one, long two, long three, long four) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(one), "c"(two), "d"(three), "S"(four)
                     : "memory", "r8", "r9", "r10", "r11");
    result = (int)result;
    if (result < 0) {
        errno = (int)-result;
        perror("int 0x80");
        exit(errno == ENOSYS ? 77 : 1);
    }
    return result;
}

/* Copy a text to an address below 4 GiB. */
static char *low(const char *text) {
    char *memory = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    strcpy(memory, text);
    return memory;
}

/* Let a kernel thread of an io_uring open and write the target. */
static void by_kernel_thread(const char *path) {
    struct io_uring_params p = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 100};
    struct ring ring = make_ring_with(&p);
    int descriptor = ring_open(&ring, path, O_WRONLY | O_APPEND);
    ring_write(&ring, descriptor, 0);
}

/* Open the target into the table of an io_uring, not into the descriptor table of the process. */
static void by_direct_descriptor(const char *path) {
    struct ring ring = make_ring();
    int none = -1;
    checked(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &none, 1), "register");
    submit(&ring, (struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path,
                                        .len = 0666, .open_flags = O_WRONLY | O_APPEND, .file_index = 1});
    ring_write(&ring, 0, IOSQE_FIXED_FILE);
}

static void *append_in_thread(void *path) {
    checked(unshare(CLONE_FILES | CLONE_FS), "unshare");
    prctl(PR_SET_NAME, "innocent");
    write_evil(open_target(path));
    return 0;
}

int main(int count, char **argument) {
    const char *deed = argument[1], *target = argument[2], *more = count > 3 ? argument[3] : 0;
    struct xattr_args {
        uint64_t value;
        uint32_t size, flags;
    } value = {.value = (uintptr_t)"EVIL", .size = 4};
    if (!strcmp(deed, "removed-name")) {
        by_removed_name(target, more, O_PATH);
    } else if (!strcmp(deed, "removed-name-read")) {
        by_removed_name(target, more, O_RDONLY);
    } else if (!strcmp(deed, "removed-name-in-flight")) {
        by_removed_name_in_flight(target, more);
    } else if (!strcmp(deed, "bound-name")) {
        by_bound_name(target, more);
    } else if (!strcmp(deed, "detached-name")) {
        by_detached_name(target, more);
    } else if (!strcmp(deed, "nameless")) {
        by_nameless(target, more);
    } else if (!strcmp(deed, "buffer")) {
        by_buffer(target);
    } else if (!strcmp(deed, "hidden-buffer")) {
        by_hidden_buffer(target);
    } else if (!strcmp(deed, "lease")) {
        after_a_lease(target);
    } else if (!strcmp(deed, "times")) {
        set_times(checked(open(target, O_RDONLY), "open"), 1000000000);
    } else if (!strcmp(deed, "times-32")) {
        char *times = low("");
        int descriptor = checked(open(target, O_RDONLY), "open");
        int32_t words[4] = {1000000000, 0, 1000000000, 0};
        memcpy(times, words, sizeof words);
        call32(320, descriptor, 0, (long)times, 0);
    } else if (!strcmp(deed, "toggle")) {
        toggle_flags(checked(open(target, O_RDONLY), "open"));
    } else if (!strcmp(deed, "append-32")) {
        write_evil((int)call32(5, (long)low(target), O_RDWR, 0, 0));
    } else if (!strcmp(deed, "truncate-32")) {
        call32(193, (long)low(target), 2, 0, 0); /* truncate64 */
    } else if (!strcmp(deed, "mode-32")) {
        call32(15, (long)low(target), 0604, 0, 0);
    } else if (!strcmp(deed, "mode-at-descriptor")) {
        int descriptor = checked(open(target, O_PATH), "open");
        if (syscall(452, descriptor, "", 0604, AT_EMPTY_PATH) < 0)
            exit(77);
    } else if (!strcmp(deed, "xattr-at-descriptor")) {
        int descriptor = checked(open(target, O_RDONLY), "open");
        if (syscall(463, descriptor, "", AT_EMPTY_PATH, "user.note", &value, sizeof value) < 0)
            exit(77);
    } else if (!strcmp(deed, "xattr-at")) {
        if (syscall(463, AT_FDCWD, target, 0, "user.note", &value, sizeof value) < 0)
            exit(77);
    } else if (!strcmp(deed, "xattr-removed-at")) {
        if (syscall(466, AT_FDCWD, target, 0, "user.kept") < 0)
            exit(77);
    } else if (!strcmp(deed, "kernel-thread")) {
        by_kernel_thread(target);
    } else if (!strcmp(deed, "direct-descriptor")) {
        by_direct_descriptor(target);
    } else if (!strcmp(deed, "thread")) {
        pthread_t other;
        pthread_create(&other, 0, append_in_thread, (void *)target);
        pthread_join(other, 0);
    } else if (!strcmp(deed, "whiteout")) {
        checked(syscall(SYS_renameat2, AT_FDCWD, target, AT_FDCWD, more, 4), "renameat2");
    } else if (!strcmp(deed, "append")) {
        write_evil(open_target(target));
    } else {
        return 2;
    }
    return 0;
}
