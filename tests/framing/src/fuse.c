/* Serve a FUSE file system with a single file, whose reads are answered only on request.
   fuse hide DEVICE DIRECTORY TARGET: runs in a user namespace. Keeps the target open, and a file of the FUSE file system,
       which is then detached. Not even root may stat(2) the descriptor of that file.
   fuse pin DEVICE DIRECTORY TARGET: runs in a user namespace. Reads from the FUSE file into mapped memory of the target,
       then unmaps and closes the target. The kernel keeps the memory until the read ends.
   fuse slow DEVICE DIRECTORY TARGET: runs in a user namespace. Writes to the target from memory that is mapped from the
       FUSE file. The call sets the target's times when it begins. It ends only when the FUSE file answers.
   fuse late-CALL DEVICE DIRECTORY TARGET UID [OTHER]: root starts it, as an administrator mounts a file system for users.
       Becomes UID, and makes the call. The target's name is in memory that is mapped from the FUSE file. The call begins
       at once, and finds the target only when the FUSE file answers. */
#include <linux/fuse.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/xattr.h>

#include "common.h"

static int device;
static int is_direct;
static const char *content; /* of the FUSE file; without it, the file repeats EVIL */
static int answers[2];

static void reply(uint64_t unique, int error, const void *data, size_t size) {
    char buffer[16384];
    struct fuse_out_header *header = (void *)buffer;
    *header = (struct fuse_out_header){.unique = unique, .error = error, .len = (unsigned)(sizeof *header + size)};
    if (size)
        memcpy(header + 1, data, size);
    if (write(device, buffer, header->len) < 0)
        return; /* the process that asked has ended */
}

static struct fuse_attr attributes(uint64_t inode) {
    int root = inode == FUSE_ROOT_ID;
    return (struct fuse_attr){.ino = inode, .nlink = 1, .mode = root ? S_IFDIR | 0755 : S_IFREG | 0644,
                              .size = root ? 0 : 4096, .blksize = 4096};
}

static void serve(void) {
    static char buffer[1 << 17];
    for (;;) {
        if (read(device, buffer, sizeof buffer) < 0) {
            if (errno == EINTR)
                continue;
            return;
        }
        struct fuse_in_header *in = (void *)buffer;
        if (in->opcode == FUSE_INIT) {
            struct fuse_init_out out = {.major = 7, .minor = 31, .max_write = 4096};
            reply(in->unique, 0, &out, sizeof out);
        } else if (in->opcode == FUSE_LOOKUP) {
            struct fuse_entry_out out = {.nodeid = 2, .attr_valid = 100, .entry_valid = 100, .attr = attributes(2)};
            reply(in->unique, 0, &out, sizeof out);
        } else if (in->opcode == FUSE_GETATTR) {
            struct fuse_attr_out out = {.attr_valid = 100, .attr = attributes(in->nodeid)};
            reply(in->unique, 0, &out, sizeof out);
        } else if (in->opcode == FUSE_OPEN || in->opcode == FUSE_OPENDIR) {
            struct fuse_open_out out = {.open_flags = is_direct ? FOPEN_DIRECT_IO : 0};
            reply(in->unique, 0, &out, sizeof out);
        } else if (in->opcode == FUSE_READ) {
            char byte, page[4096];
            for (int at = 0; at < 4095; at += 5)
                memcpy(page + at, EVIL, 5);
            page[4095] = '\n';
            if (content)
                strcpy(page, content);
            checked(read(answers[0], &byte, 1), "read"); /* wait for the request to answer */
            reply(in->unique, 0, page, sizeof page);
        } else if (in->opcode != FUSE_FORGET && in->opcode != FUSE_INTERRUPT) {
            reply(in->unique, -ENOSYS, 0, 0);
        }
    }
}

/* Serve in a child process. When it ends, the kernel aborts the requests that were not answered. */
static void start_server(void) {
    pid_t holder = getpid();
    if (checked(fork(), "fork") == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == holder)
            serve();
        _exit(0);
    }
    close(device);
}

struct reading {
    int file;
    char *memory;
};

static void *read_into(void *reading) {
    struct reading *here = reading;
    checked(read(here->file, here->memory, 4096), "read");
    return 0;
}

static void by_pinned_memory(int file, int target) {
    pthread_t reader;
    char *memory = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, target, 0);
    struct reading here = {file, memory};
    pthread_create(&reader, 0, read_into, &here);
    usleep(300000);
    munmap(memory, 4096);
    close(target);
    ready();
    wait_for_go();
    checked(write(answers[1], "x", 1), "write");
    pthread_join(reader, 0);
    done();
}

/* Start a process that tells the server when to answer: this one is blocked in its call. */
static void start_teller(void) {
    if (checked(fork(), "fork"))
        return;
    usleep(200000);
    ready();
    wait_for_go();
    checked(write(answers[1], "x", 1), "write");
    _exit(0);
}

static void call_late(const char *call, const char *name, const char *other) {
    if (!strcmp(call, "open")) {
        int target = checked(open(name, O_WRONLY | O_APPEND), "open");
        checked(write(target, EVIL, sizeof EVIL - 1), "write");
        close(target);
    } else if (!strcmp(call, "truncate")) {
        checked(truncate(name, 3), "truncate");
    } else if (!strcmp(call, "rename")) {
        checked(rename(other, name), "rename");
    } else if (!strcmp(call, "link")) {
        checked(link(name, other), "link");
        int target = checked(open(other, O_WRONLY | O_APPEND), "open");
        checked(write(target, EVIL, sizeof EVIL - 1), "write");
        checked(unlink(other), "unlink");
    } else if (!strcmp(call, "unlink")) {
        checked(unlink(name), "unlink");
    } else if (!strcmp(call, "chmod")) {
        checked(chmod(name, 0646), "chmod");
    } else if (!strcmp(call, "times")) {
        struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
        checked(utimensat(AT_FDCWD, name, times, 0), "utimensat");
    } else if (!strcmp(call, "xattr")) {
        checked(setxattr(name, "user.note", "EVIL", 4, 0), "setxattr");
    } else {
        exit(2);
    }
}

int main(int count, char **argument) {
    int is_late = !strncmp(argument[1], "late-", 5);
    if (is_late)
        content = argument[4];
    char options[128], name[4096];
    checked(pipe(answers), "pipe");
    device = open(argument[2], O_RDWR);
    if (device < 0) {
        perror("fuse");
        return 77;
    }
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
    if (mount("none", argument[3], "fuse", MS_NOSUID | MS_NODEV, options)) {
        perror("mount");
        return 77;
    }
    is_direct = !strcmp(argument[1], "pin");
    start_server();
    snprintf(name, sizeof name, "%s/file", argument[3]);
    int file = checked(open(name, O_RDWR), "open");
    if (is_late) {
        uid_t user = (uid_t)atoi(argument[5]);
        const char *late = mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 0);
        checked(syscall(SYS_setgroups, 0, 0), "setgroups");
        checked(setresgid(user, user, user), "setresgid");
        checked(setresuid(user, user, user), "setresuid");
        start_teller();
        call_late(argument[1] + 5, late, count > 6 ? argument[6] : 0);
        done();
        return 0;
    }
    int target = open_target(argument[4]);
    if (!strcmp(argument[1], "hide")) {
        checked(umount2(argument[3], MNT_DETACH), "umount");
        ready();
        wait_for_go();
        write_evil(target);
        done();
        return 0;
    }
    if (is_direct) {
        by_pinned_memory(file, target);
        return 0;
    }
    const char *memory = mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    start_teller();
    checked(pwrite(target, memory, 4096, 0), "write");
    close(target);
    done();
    return 0;
}
