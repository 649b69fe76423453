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
 * With INJECT_WITHIN, a part of a file's path, only calls count that code of
 * that file makes, by itself or by libc: those of an interpreter do not. Who
 * made a call is the first return address on its stack that is not libc's.
 * INJECT_SURE names calls that a trace leaves alone, with spaces between.
 *
 * It is a seccomp filter that asks another process (seccomp_unotify(2)). Unlike
 * a tracer that process changes nothing else: nobody is stopped, and who waits
 * for whom stays as it is. It is installed at the first system call of the
 * library, pidfd_open when a server is made; what comes before is not counted.
 * What the program writes to its standard output and error is its own and left
 * alone, too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
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

static long number_of(const char *name) {
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, name) == 0)
            return calls[i].number;
    return -1;
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
    plan.call = number_of(call);
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

/* ---- Who makes a call ---------------------------------------------------- */

/* Whose code an address is. */
enum owner { NOBODYS, LIBCS, WANTED, OTHERS };

struct code {
    uintptr_t start, end;
    enum owner owner;
};
enum { CODES = 512, STACK_WORDS = 1024 };

/* All that may be executed in this process; how many there are. */
static int read_codes(pid_t pid, const char *wanted, struct code *codes) {
    static const char *const between[] = {"/libc.so", "/ld-linux", "/libinject.so",
                                          "/libpthread"};
    char path[64], line[1024], may[8], name[512];
    int count = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    while (count < CODES && fgets(line, sizeof line, file)) {
        struct code *code = &codes[count];
        *name = '\0';
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s %*s %*s %*s %511s", &code->start,
                   &code->end, may, name) < 3 ||
            may[2] != 'x')
            continue;
        code->owner = strstr(name, wanted) ? WANTED : *name == '[' ? LIBCS : OTHERS;
        for (size_t i = 0; i < sizeof between / sizeof *between; i++)
            if (strstr(name, between[i]))
                code->owner = LIBCS;
        count++;
    }
    fclose(file);
    return count;
}

static enum owner owner_of(uintptr_t address, const struct code *codes, int count) {
    for (int i = 0; i < count; i++)
        if (codes[i].start <= address && address < codes[i].end)
            return codes[i].owner;
    return NOBODYS;
}

/* The bytes at an address of a process that waits; how many there are. */
static size_t read_memory(pid_t pid, uintptr_t address, void *into, size_t size) {
    struct iovec here = {into, size}, there = {(void *)address, size};
    ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);
    return n < 0 ? 0 : (size_t)n;
}

/* The stack of a process that waits in a system call; how many words. */
static size_t read_stack(pid_t pid, uintptr_t *words) {
    char path[64];
    uintptr_t top = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%*s %*s %*s %*s %*s %*s %*s %" SCNxPTR, &top) != 1)
        top = 0;
    fclose(file);
    return read_memory(pid, top, words, STACK_WORDS * sizeof *words) / sizeof *words;
}

/* Whether a call stands before this address: then it is where one returns to,
 * and not a pointer to a function that happens to lie there. */
static int follows_a_call(pid_t pid, uintptr_t address) {
    unsigned char code[8];
    if (read_memory(pid, address - sizeof code, code, sizeof code) != sizeof code)
        return 0;
#ifdef __x86_64__
    /* call rel32; call of a register or of what is in memory. */
    if (code[3] == 0xe8)
        return 1;
    for (int i = 1; i <= 6; i++)
        if (code[i] == 0xff && (code[i + 1] & 0x38) == 0x10)
            return 1;
    return 0;
#else
    /* bl; blr. */
    return (code[7] & 0xfc) == 0x94 || (code[7] == 0xd6 && (code[6] & 0xff) == 0x3f);
#endif
}

/* Whether code of the file that is meant makes this call. */
static int is_within(const struct seccomp_notif *asked, const char *wanted) {
    static struct code codes[CODES];
    static uintptr_t words[STACK_WORDS];
    pid_t pid = (pid_t)asked->pid;
    int count = read_codes(pid, wanted, codes);
    enum owner owner = owner_of((uintptr_t)asked->data.instruction_pointer, codes, count);
    size_t deep = owner == LIBCS ? read_stack(pid, words) : 0;

    /* libc's fork has a large frame, with whatever lay there before. Nobody else
     * forks in what is tested here. */
    if (asked->data.nr == SYS_clone)
        return 1;
    for (size_t i = 0; i < deep; i++) {
        enum owner next = owner_of(words[i], codes, count);
        if ((next == WANTED || next == OTHERS) && follows_a_call(pid, words[i]))
            return next == WANTED;
    }
    return owner == WANTED;
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
    const char *wanted = getenv("INJECT_WITHIN");
    unsigned long *count = NULL, all = 0;

    if (counting && !own && !other && data->nr >= 0 && data->nr < CALLS &&
        (!wanted || is_within(asked, wanted))) {
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

/* Of Linux 5.19: once a call has been asked about, only a fatal signal ends it. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static unsigned short add(struct sock_filter *code, unsigned short at,
                          struct sock_filter next) {
    code[at] = next;
    return (unsigned short)(at + 1);
}

static long set_filter(unsigned long more, const struct sock_fprog *program) {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   SECCOMP_FILTER_FLAG_NEW_LISTENER | more, program);
}

static int install(void) {
    const unsigned int argument = offsetof(struct seccomp_data, args);
    const struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    static struct sock_filter code[256];
    struct sock_fprog program = {.filter = code};
    const char *sure = getenv("INJECT_SURE");
    char name[64];
    long listener;
    int len;

#define ADD(...) program.len = add(code, program.len, (struct sock_filter)__VA_ARGS__)
    /* The lower half of the first argument, on a little-endian machine. */
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LINK, 0, 1));
    program.len = add(code, program.len, allow);
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    if (plan.trace)
        for (; sure && sscanf(sure, "%63s%n", name, &len) == 1; sure += len) {
            long number = number_of(name);
            if (number < 0 || program.len > 250)
                continue; /* Of another architecture. */
            ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1));
            program.len = add(code, program.len, allow);
        }
    else {
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)plan.call, 1, 0));
        program.len = add(code, program.len, allow);
    }
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
#undef ADD
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        die("no_new_privs");
    listener = set_filter(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
    if (listener < 0 && errno == EINVAL)
        listener = set_filter(0, &program);
    if (listener < 0)
        die("seccomp");
    return (int)listener;
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

/* Not a part of what calls it, whose frame is to be small. */
__attribute__((noinline)) static void begin(void) {
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

/* Comes before libc's syscall, with as many arguments as that ever has: a list of
 * them would leave old addresses in its place on the stack (see is_within). */
long hand_on(long number, long a, long b, long c, long d, long e, long f) __asm__("syscall");

long hand_on(long number, long a, long b, long c, long d, long e, long f) {
    static long (*real)(long, long, long, long, long, long, long);
    static int begun;

    /* The detour over an object keeps ISO C content (dlsym(3)). */
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    if (!real)
        die("dlsym");
    if (number == SYS_pidfd_open && !begun) {
        begun = 1;
        begin();
    }
    return real(number, a, b, c, d, e, f);
}
