/*
 * Calls of the C library that a test can make fail, and a clock that it can put
 * forward. The functions of these names in the test program come before libc's
 * for the library under test too; while nothing is asked of them they hand on.
 */
#include "support.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int forks_before;
int fork_failures;
int fork_errno = EAGAIN;
int madvise_errno;
int pidfd_errno;
int getsockname_errno;
int eventfd_errno;
int skip_waits;

static atomic_long *ahead(void) {
    return &shared_journal()->clock_ahead_ms;
}

void advance_clock(long ms) {
    *ahead() += ms;
}

pid_t fork(void) {
    /* The detour over an object keeps ISO C content (dlsym(3)). */
    static pid_t (*real)(void);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fork");
    if (forks_before > 0)
        forks_before--;
    else if (fork_failures > 0) {
        fork_failures--;
        errno = fork_errno;
        return -1;
    }
    return real();
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    va_list list;
    long a[6];
    int i;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    va_start(list, number);
    for (i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_pidfd_open && pidfd_errno) {
        errno = pidfd_errno;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int madvise(void *start, size_t len, int advice) {
    static int (*real)(void *, size_t, int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "madvise");
    if (madvise_errno) {
        errno = madvise_errno;
        return -1;
    }
    return real(start, len, advice);
}

int eventfd(unsigned value, int flags) {
    static int (*real)(unsigned, int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "eventfd");
    if (eventfd_errno) {
        errno = eventfd_errno;
        return -1;
    }
    return real(value, flags);
}

/* The union is glibc's, transparent to callers (sys/socket.h). */
int getsockname(int fd, __SOCKADDR_ARG address, socklen_t *len) {
    static int (*real)(int, struct sockaddr *, socklen_t *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getsockname");
    if (getsockname_errno) {
        errno = getsockname_errno;
        return -1;
    }
    return real(fd, address.__sockaddr__, len);
}

int poll(struct pollfd *fds, nfds_t count, int ms) {
    static int (*real)(struct pollfd *, nfds_t, int);
    int result;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "poll");
    if (!skip_waits || ms <= 0)
        return real(fds, count, ms);
    result = real(fds, count, 0);
    if (result == 0)
        advance_clock(ms);
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    long ahead_ms;
    int result;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    if (shared_journal()->clock_failures > 0) {
        shared_journal()->clock_failures--;
        errno = EPERM;
        return -1;
    }
    result = real(clock, now);
    ahead_ms = *ahead();
    if (result == 0 && ahead_ms) {
        long long ns = now->tv_nsec + ahead_ms % 1000 * 1000000LL;
        now->tv_sec += ahead_ms / 1000 + (time_t)(ns / 1000000000);
        now->tv_nsec = (long)(ns % 1000000000);
    }
    return result;
}
