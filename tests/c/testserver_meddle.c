/*
 * A child in the hands of an attacker that tells its parent what is not true: by the
 * socket that children tell of their connections by, which is the only one of its
 * kind in this program.
 */
#include "testserver.h"

#include <grp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* As the library's notes are: what happened, who tells, the connection. */
struct note {
    uint64_t kind, child, connection, rest[23];
};

static int notes_socket(void) {
    for (int fd = 3; fd < 256; fd++) {
        int type = 0;
        socklen_t size = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET)
            return fd;
    }
    return -1;
}

/* In the name of all children that there may be. */
static void tell_of_others(int notes) {
    for (uint64_t birth = 1; birth < 60; birth++)
        for (uint64_t slot = 0; slot < 8; slot++) {
            struct note note = {.kind = birth % 3, .child = birth << 32 | slot};
            note.connection = 1000 + birth;
            send(notes, &note, sizeof note, MSG_NOSIGNAL);
        }
}

static void send_descriptor(int notes) {
    struct note note = {0};
    struct iovec data = {.iov_base = &note, .iov_len = sizeof note};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.head), &notes, sizeof notes);
    sendmsg(notes, &message, MSG_NOSIGNAL);
}

int become_nobody(void) {
    return setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0;
}

int lie(int fd, const char *how) {
    int notes = notes_socket();
    char byte;

    if (notes < 0)
        return 1;
    if (strcmp(how, "left") == 0) {
        if (fork() > 0)
            return 0;
        while (recv(fd, &byte, 1, MSG_DONTWAIT) != 0)
            tell_of_others(notes);
        _exit(0);
    }
    if (strcmp(how, "others") == 0)
        tell_of_others(notes);
    else if (strcmp(how, "descriptors") == 0)
        send_descriptor(notes);
    else
        send(notes, "x", 1, MSG_NOSIGNAL);
    /* Until it is ended. */
    return forkserve_read(fd, &byte, 1) < 0;
}
