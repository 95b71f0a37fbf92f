/* Act on files through an io_uring, which no rule of auditctl 3.0 reports: ringed DEED NAME [NAME]. */
#include "ring.h"

int main(int count, char **argument) {
    (void)count;
    const char *deed = argument[1], *one = argument[2], *other = argument[3];
    struct ring ring = make_ring();
    if (!strcmp(deed, "append")) {
        ring_write(&ring, ring_open(&ring, one, O_WRONLY | O_APPEND), 0);
    } else if (!strcmp(deed, "create")) {
        ring_write(&ring, ring_open(&ring, one, O_WRONLY | O_CREAT | O_EXCL), 0);
    } else if (!strcmp(deed, "truncate")) {
        ring_open(&ring, one, O_RDONLY | O_TRUNC);
    } else if (!strcmp(deed, "link")) {
        ring_two_names(&ring, IORING_OP_LINKAT, one, other, 0);
    } else if (!strcmp(deed, "rename")) {
        ring_two_names(&ring, IORING_OP_RENAMEAT, one, other, 0);
    } else if (!strcmp(deed, "exchange")) {
        ring_two_names(&ring, IORING_OP_RENAMEAT, one, other, 2);
    } else if (!strcmp(deed, "unlink")) {
        ring_unlink(&ring, one);
    } else if (!strcmp(deed, "xattr")) {
        submit(&ring, (struct io_uring_sqe){.opcode = IORING_OP_SETXATTR, .addr = (uintptr_t)"user.note",
                                            .addr2 = (uintptr_t)EVIL, .addr3 = (uintptr_t)one, .len = 4});
    } else {
        return 2;
    }
    return 0;
}
