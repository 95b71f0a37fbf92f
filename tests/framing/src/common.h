/* Shared by all programs of the attempts. A program that waits prints "ready" when it is prepared, waits for a line on
   its standard input, changes the target and prints "done". The others act at once. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static const char EVIL[] = "EVIL\n";

static int checked(long result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return (int)result;
}

static void ready(void) { checked(write(1, "ready\n", 6), "ready"); }
static void done(void) { checked(write(1, "done\n", 5), "done"); }

static void wait_for_go(void) {
    char byte;
    while (read(0, &byte, 1) == 1 && byte != '\n')
        ;
}

static int told_to_go(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

static void write_evil(int descriptor) {
    checked(lseek(descriptor, 0, SEEK_END), "lseek");
    checked(write(descriptor, EVIL, sizeof EVIL - 1), "write");
}

static int open_target(const char *path) { return checked(open(path, O_RDWR), "open"); }

static void send_descriptor(int socket, int descriptor) {
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {"x", 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    checked(sendmsg(socket, &message, 0), "sendmsg");
}

static int receive_descriptor(int socket) {
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int descriptor;
    checked(recvmsg(socket, &message, 0), "recvmsg");
    memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    return descriptor;
}
