/* Use an io_uring without liburing, one operation at a time (io_uring_setup(2), io_uring_enter(2)). */
#include "common.h"
#include <linux/io_uring.h>

struct ring {
    int fd, has_thread;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *entries;
    struct io_uring_cqe *results;
};

static struct ring make_ring_with(struct io_uring_params *wanted) {
    struct io_uring_params p = *wanted;
    struct ring ring;
    ring.has_thread = !!(p.flags & IORING_SETUP_SQPOLL);
    ring.fd = (int)syscall(SYS_io_uring_setup, 8, &p);
    if (ring.fd < 0) {
        perror("io_uring_setup");
        exit(77); /* io_uring is switched off on this machine */
    }
    int both = PROT_READ | PROT_WRITE;
    char *sq = mmap(0, p.sq_off.array + p.sq_entries * 4, both, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
    char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), both, MAP_SHARED, ring.fd,
                    IORING_OFF_CQ_RING);
    ring.entries = mmap(0, p.sq_entries * sizeof(struct io_uring_sqe), both, MAP_SHARED, ring.fd, IORING_OFF_SQES);
    ring.sq_tail = (unsigned *)(sq + p.sq_off.tail);
    ring.sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
    ring.sq_array = (unsigned *)(sq + p.sq_off.array);
    ring.cq_head = (unsigned *)(cq + p.cq_off.head);
    ring.cq_tail = (unsigned *)(cq + p.cq_off.tail);
    ring.cq_mask = (unsigned *)(cq + p.cq_off.ring_mask);
    ring.results = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    return ring;
}

static struct ring make_ring(void) {
    struct io_uring_params p = {0};
    return make_ring_with(&p);
}

static int submit(struct ring *ring, struct io_uring_sqe entry) {
    unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
    ring->entries[index] = entry;
    ring->sq_array[index] = index;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    checked(syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS | (ring->has_thread ? IORING_ENTER_SQ_WAKEUP : 0), 0, 0), "io_uring_enter");
    unsigned head = *ring->cq_head;
    while (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
        ;
    int result = ring->results[head & *ring->cq_mask].res;
    __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
    if (result < 0) {
        errno = -result;
        perror("io_uring");
        exit(1);
    }
    return result;
}

static int ring_open(struct ring *ring, const char *path, int flags) {
    return submit(ring, (struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path,
                                              .len = 0666, .open_flags = (unsigned)flags});
}

static void ring_write(struct ring *ring, int descriptor, unsigned char flags) {
    submit(ring, (struct io_uring_sqe){.opcode = IORING_OP_WRITE, .fd = descriptor, .addr = (uintptr_t)EVIL,
                                       .len = sizeof EVIL - 1, .off = (uint64_t)-1, .flags = flags});
}

static void ring_two_names(struct ring *ring, int opcode, const char *from, const char *to, unsigned flags) {
    submit(ring, (struct io_uring_sqe){.opcode = (unsigned char)opcode, .fd = AT_FDCWD, .addr = (uintptr_t)from,
                                       .len = (unsigned)AT_FDCWD, .off = (uintptr_t)to, .rename_flags = flags});
}

static void ring_unlink(struct ring *ring, const char *path) {
    submit(ring, (struct io_uring_sqe){.opcode = IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)path});
}
