/* Preloaded into a process: records every write, truncation, removal and sync of files whose paths begin with
 * $WRITES_OF, and every output on standard output, in order, in the file $WRITES_TO. From this a test can make what a
 * disk may hold after a power cut: all that was synced, and any part of the rest. A record is a header, then the path,
 * then the data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct header { uint32_t kind, path, data, pad; uint64_t offset; };
enum { WRITE = 1, TRUNCATE, SYNC, REMOVE, PRINTED };

static void note(uint32_t kind, const char *path, uint64_t offset, const void *data, size_t size)
{
    const char *of = getenv("WRITES_OF"), *to = getenv("WRITES_TO");
    if (!of || !to)
        return;
    if (kind != PRINTED && (strncmp(path, of, strlen(of)) || strstr(path, "-shm") || strstr(path, ".lock")))
        return;
    static int out = -1;
    if (out < 0)
        out = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    struct header head = { kind, strlen(path), size, 0, offset };
    struct iovec parts[] = { { &head, sizeof head }, { (void *)path, head.path }, { (void *)data, size } };
    syscall(SYS_writev, out, parts, 3);
}

static void note_fd(uint32_t kind, int fd, uint64_t offset, const void *data, size_t size)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = 0;
    note(kind, path, offset, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (fd == 1)
        note(PRINTED, "", 0, NULL, 0);
    if (done > 0 && offset >= 0)
        note_fd(WRITE, fd, offset, data, done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, offset);
    if (done > 0)
        note_fd(WRITE, fd, offset, data, done);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

int ftruncate64(int fd, off_t size)
{
    int failed = syscall(SYS_ftruncate, fd, size);
    if (!failed)
        note_fd(TRUNCATE, fd, size, NULL, 0);
    return failed;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fsync(int fd)
{
    int failed = syscall(SYS_fsync, fd);
    if (!failed)
        note_fd(SYNC, fd, 0, NULL, 0);
    return failed;
}
int fdatasync(int fd) { return fsync(fd); }

int unlink(const char *path)
{
    int failed = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (!failed)
        note(REMOVE, path, 0, NULL, 0);
    return failed;
}
