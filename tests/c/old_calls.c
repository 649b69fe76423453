/*
 * libold_calls.so: hides system calls that valgrind 3.19 does not know. For
 * LD_PRELOAD, with OLD_CALLS_ONLY for the tests (support.h): a program under
 * valgrind then polls for its children instead of waiting for their pidfds, and
 * what it opens by openat2 it opens by openat, without what the former forbids.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...) {
    /* The detour over an object keeps ISO C content (dlsym(3)). */
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
    if (number == SYS_pidfd_open && a[0] == getpid())
        return dup(STDERR_FILENO); /* the library asks once whether pidfds exist */
    if (number == SYS_pidfd_open || number == SYS_close_range) {
        errno = number == SYS_pidfd_open ? EMFILE : ENOSYS;
        return -1;
    }
    if (number == SYS_openat2)
        return openat((int)a[0], (const char *)a[1], (int)((struct open_how *)a[2])->flags);
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
