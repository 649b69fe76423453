/*
 * libinject.so: makes a system call of a program fail, or writes down which
 * calls it makes. For LD_PRELOAD.
 *
 *     INJECT=trace                      count all calls
 *     INJECT="DEPTH CALL ERRNO FIRST STEP [ARGUMENT]"
 *
 * fails call number FIRST, counted over all processes of that depth together,
 * and then each STEP-th one more (0: no other). Depth 0 is the program itself, 1
 * are its children, 2 theirs, and * is everybody. With ARGUMENT, only calls
 * count that have it as their first one. INJECT_LOG names the file
 * that the counts are written to when the last of these processes has ended:
 * lines of depth, call, number; and "hits N", how many calls were made to fail.
 *
 * It is a seccomp filter that asks another process (seccomp_unotify(2)). Unlike
 * a tracer that process changes nothing else: nobody is stopped, and who waits
 * for whom stays as it is. It is installed when the program first calls the
 * library, forkserve_server_new; what it does before is not counted. What it
 * writes to its standard output and error is its own and left alone, too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <forkserve.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The socket to the process that is asked. Calls on it are never asked about. */
enum { LINK = 900 };
enum { DEPTHS = 4, CALLS = 512, PIDS = 4096 };

/* Made by the Makefile from <sys/syscall.h>. */
static const struct {
    const char *name;
    long number;
} calls[] = {
#include "calls.inc"
};

static struct plan {
    int trace, depth, error;
    long call, argument;
    unsigned long first, step;
} plan = {.argument = -1};

static unsigned long counts[DEPTHS][CALLS], hits;
static struct {
    pid_t pid;
    int depth;
} known[PIDS];
static int known_count;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static const char *name_of(long number) {
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].number == number)
            return calls[i].name;
    return "unknown";
}

static void read_plan(const char *text) {
    char depth[8], call[64];
    if (strcmp(text, "trace") == 0) {
        plan.trace = 1;
        return;
    }
    if (sscanf(text, "%7s %63s %d %lu %lu %ld", depth, call, &plan.error, &plan.first,
               &plan.step, &plan.argument) < 5) {
        errno = EINVAL;
        die(text);
    }
    plan.depth = *depth == '*' ? -1 : atoi(depth);
    plan.call = -1;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, call) == 0)
            plan.call = calls[i].number;
    if (plan.call < 0) {
        errno = ENOSYS;
        die(call);
    }
}

/* ---- The process that is asked ------------------------------------------ */

static pid_t parent_of(pid_t pid) {
    char path[64], text[512];
    const char *end;
    ssize_t n;
    int fd, parent = 0;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    end = strrchr(text, ')');
    return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* How many forks this process is away from the program. */
static int depth_of(pid_t pid) {
    pid_t parent;
    int depth;

    for (int i = 0; i < known_count; i++)
        if (known[i].pid == pid)
            return known[i].depth;
    parent = parent_of(pid);
    depth = parent > 1 ? depth_of(parent) + 1 : DEPTHS - 1;
    if (depth >= DEPTHS)
        depth = DEPTHS - 1;
    if (known_count < PIDS) {
        known[known_count].pid = pid;
        known[known_count++].depth = depth;
    }
    return depth;
}

/* What a call that fails would have done all the same: the file behind the
 * descriptor goes, and only its number stays in use, for /dev/full. */
static void replace(int listener, unsigned long long id, int fd) {
    static int dummy = -1;
    struct seccomp_notif_addfd add = {.id = id, .flags = SECCOMP_ADDFD_FLAG_SETFD};
    if (dummy < 0)
        dummy = open("/dev/full", O_WRONLY | O_CLOEXEC);
    add.srcfd = (unsigned)dummy;
    add.newfd = (unsigned)fd;
    add.newfd_flags = O_CLOEXEC;
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
}

static int is_hit(unsigned long count) {
    if (count == plan.first)
        return 1;
    return plan.step && count > plan.first && (count - plan.first) % plan.step == 0;
}

static void answer(int listener, const struct seccomp_notif *asked, int counting) {
    struct seccomp_notif_resp reply = {.id = asked->id,
                                       .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    const struct seccomp_data *data = &asked->data;
    int own = (data->nr == SYS_write || data->nr == SYS_sendto) &&
              (data->args[0] == STDOUT_FILENO || data->args[0] == STDERR_FILENO);
    int other = plan.argument >= 0 && (long)data->args[0] != plan.argument;
    unsigned long *count = NULL, all = 0;

    if (counting && !own && !other && data->nr >= 0 && data->nr < CALLS) {
        count = &counts[depth_of((pid_t)asked->pid)][data->nr];
        ++*count;
        for (int depth = 0; depth < DEPTHS; depth++)
            all += counts[depth][data->nr];
        if (!plan.trace && data->nr == plan.call &&
            (plan.depth < 0 || count == &counts[plan.depth][data->nr]) &&
            is_hit(plan.depth < 0 ? all : *count)) {
            reply.flags = 0;
            reply.error = -plan.error;
            if (data->nr == SYS_close)
                replace(listener, asked->id, (int)data->args[0]);
        }
    }
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) == 0)
        hits += reply.error != 0;
    else if (count)
        --*count; /* A signal came first: the call is made again, or never. */
}

static void write_log(void) {
    const char *path = getenv("INJECT_LOG");
    char part[4096];
    FILE *file;

    if (!path)
        return;
    snprintf(part, sizeof part, "%s.part", path);
    file = fopen(part, "we");
    if (!file)
        return;
    for (int depth = 0; depth < DEPTHS; depth++)
        for (int call = 0; call < CALLS; call++)
            if (counts[depth][call])
                fprintf(file, "%d %s %lu\n", depth, name_of(call), counts[depth][call]);
    fprintf(file, "hits %lu\n", hits);
    fclose(file);
    rename(part, path);
}

static int receive_listener(int link) {
    char byte, room[CMSG_SPACE(sizeof(int))];
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header;
    int fd = -1;

    if (recvmsg(link, &message, MSG_CMSG_CLOEXEC) != 1 || !(header = CMSG_FIRSTHDR(&message)))
        _exit(125);
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static _Noreturn void be_asked(int link, pid_t program) {
    struct pollfd poller;
    int counting = 0;
    char byte;

    known[known_count++].pid = program;
    poller.fd = receive_listener(link);
    poller.events = POLLIN;
    /* Who reads the program's output waits for its end, not for this process's. */
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    while (poll(&poller, 1, -1) >= 0 && !(poller.revents & POLLHUP)) {
        struct seccomp_notif asked = {0};
        if (ioctl(poller.fd, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
            continue; /* It has been interrupted, or killed. */
        counting = counting || recv(link, &byte, 1, MSG_DONTWAIT) == 1;
        answer(poller.fd, &asked, counting);
    }
    write_log();
    _exit(0);
}

/* ---- In the program ------------------------------------------------------ */

static int install(void) {
    const unsigned int argument = offsetof(struct seccomp_data, args);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | (plan.trace ? BPF_JGE : BPF_JEQ) | BPF_K,
                 plan.trace ? 0 : (unsigned)plan.call, 0, 3),
        /* The lower half of the first argument, on a little-endian machine. */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LINK, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    int listener;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        die("no_new_privs");
    listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                            SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0)
        die("seccomp");
    return listener;
}

static void send_listener(int listener) {
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {"l", 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &listener, sizeof listener);
    if (sendmsg(LINK, &message, 0) != 1)
        die("sendmsg");
}

static void begin(void) {
    const char *text = getenv("INJECT");
    pid_t program = getpid(), between;
    int ends[2], listener;

    if (!text)
        return;
    read_plan(text);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair");
    /* Twice, so that the program has no child that it does not know of. */
    between = fork();
    if (between < 0)
        die("fork");
    if (between == 0) {
        close(ends[0]);
        if (fork() == 0)
            be_asked(ends[1], program);
        _exit(0);
    }
    waitpid(between, NULL, 0);
    if (dup3(ends[0], LINK, O_CLOEXEC) < 0)
        die("dup3");
    close(ends[0]);
    close(ends[1]);
    listener = install();
    send_listener(listener);
    close(listener);
    /* From here on they count. */
    if (write(LINK, "g", 1) != 1)
        die("write");
    close(LINK);
}

/* Comes before the library's own. */
int forkserve_server_new(const forkserve_options *options, forkserve_server **out,
                         forkserve_error *error) {
    int (*real)(const forkserve_options *, forkserve_server **, forkserve_error *);

    /* The detour over an object keeps ISO C content (dlsym(3)). */
    *(void **)&real = dlsym(RTLD_NEXT, "forkserve_server_new");
    if (!real)
        die("dlsym");
    begin();
    return real(options, out, error);
}
