/* Keeps a file open for writing and, beside it, one of a FUSE file system that nobody but its user may ask.
 *
 *     fuse_beside FILE DIRECTORY DEVICE
 *
 * DEVICE is as /dev/fuse, and opened here: the kernel takes it from the user namespace of the mount only. To be run in a user and mount namespace of its own.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

static int fuse;

static void answer(uint64_t unique, int error, const void *data, size_t size) {
    char buffer[4096];
    struct fuse_out_header head = {.len = sizeof head + size, .error = error, .unique = unique};
    memcpy(buffer, &head, sizeof head);
    memcpy(buffer + sizeof head, data, size);
    if (write(fuse, buffer, head.len) < 0)
        _exit(1);
}

static void serve(void) {
    static char buffer[1 << 17];
    prctl(PR_SET_PDEATHSIG, 9);
    while (read(fuse, buffer, sizeof buffer) > 0) {
        struct fuse_in_header *asked = (void *)buffer;
        struct fuse_attr attributes = {.ino = asked->nodeid, .nlink = 1, .mode = asked->nodeid == 1 ? 040755 : 0100644};
        struct fuse_init_out started = {.major = 7, .minor = 31, .max_write = 4096};
        struct fuse_entry_out entry = {.nodeid = 2, .attr_valid = 100, .entry_valid = 100};
        struct fuse_attr_out reply = {.attr_valid = 100, .attr = attributes};
        struct fuse_open_out opened = {0};
        switch (asked->opcode) {
        case FUSE_INIT:
            answer(asked->unique, 0, &started, sizeof started);
            break;
        case FUSE_LOOKUP:
            entry.attr.ino = 2;
            entry.attr.nlink = 1;
            entry.attr.mode = 0100644;
            answer(asked->unique, 0, &entry, sizeof entry);
            break;
        case FUSE_GETATTR:
            answer(asked->unique, 0, &reply, sizeof reply);
            break;
        case FUSE_OPEN:
            answer(asked->unique, 0, &opened, sizeof opened);
            break;
        case FUSE_FORGET:
        case FUSE_INTERRUPT:
            break;
        default:
            answer(asked->unique, -38, 0, 0);
        }
    }
    _exit(0);
}

int main(int count, char **arguments) {
    char options[128], name[4096];
    if (count < 4 || chdir(arguments[2]))
        return 1;
    fuse = open(arguments[3], O_RDWR);
    if (fuse < 0) {
        perror(arguments[3]);
        return 1;
    }
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (mount("beside", ".", "fuse", 0, options)) {
        perror("mount");
        return 1;
    }
    if (fork() == 0)
        serve();
    snprintf(name, sizeof name, "%s/f", arguments[2]);
    if (open(name, O_RDWR) < 0 || umount2(arguments[2], MNT_DETACH) || open(arguments[1], O_RDWR) < 0) {
        perror("open");
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    pause();
}
