"""Which errnos each system call may answer: those of its manual page.

A call that the program makes and that is neither in ERRNOS nor in SURE fails the
sweep: whoever adds a call to the library says here how it can fail.
"""

# Section ERRORS of the page of section 2, without what only another kind of
# descriptor or another operation can bring. The names are the kernel's, of
# x86-64 and aarch64.
ERRNOS = {
    # ---- Set-up ----
    "pidfd_open": "EINVAL EMFILE ENFILE ENODEV ENOMEM ESRCH ENOSYS",
    "epoll_create1": "EINVAL EMFILE ENFILE ENOMEM",
    "eventfd2": "EINVAL EMFILE ENFILE ENODEV ENOMEM",
    # Not found by other programs then, and all else works.
    "memfd_create": "EFAULT EINVAL EMFILE ENFILE ENOMEM EPERM ENOSYS",
    "ftruncate": "EBADF EFBIG EINTR EINVAL EIO EPERM EROFS ETXTBSY",
    "prlimit64": "EFAULT EINVAL EPERM ESRCH",
    "mmap": "EACCES EAGAIN EBADF EINVAL ENFILE ENODEV ENOMEM EPERM",
    "munmap": "EINVAL ENOMEM",
    "socket": "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT",
    "setsockopt": "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK",
    "bind": "EACCES EADDRINUSE EBADF EINVAL ENOTSOCK EADDRNOTAVAIL EFAULT ENOMEM",
    "listen": "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP",
    "getsockname": "EBADF EFAULT EINVAL ENOBUFS ENOTSOCK",
    "socketpair": "EAFNOSUPPORT EFAULT EMFILE ENFILE EOPNOTSUPP EPROTONOSUPPORT",
    "signalfd4": "EBADF EINVAL EMFILE ENFILE ENODEV ENOMEM",
    "getrandom": "EAGAIN EINTR",
    # ---- The loop ----
    "epoll_ctl": "EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM",
    "epoll_wait": "EBADF EFAULT EINTR EINVAL",
    "epoll_pwait": "EBADF EFAULT EINTR EINVAL",
    "poll": "EFAULT EINTR EINVAL ENOMEM",
    "ppoll": "EFAULT EINTR EINVAL ENOMEM",
    "accept4": "EAGAIN EBADF ECONNABORTED EFAULT EINTR EINVAL EMFILE ENFILE ENOBUFS ENOMEM "
    "ENOTSOCK EOPNOTSUPP EPERM EPROTO ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH "
    "ENETUNREACH ETIMEDOUT",
    "getsockopt": "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK",
    "shutdown": "EBADF EINVAL ENOTCONN ENOTSOCK",
    "ioctl": "EBADF EFAULT EINVAL ENOTTY",
    "clone": "EAGAIN ENOMEM ENOSYS",
    "clone3": "EAGAIN ENOMEM ENOSYS",
    # Not ECHILD: a child that is there does not go by being denied. See test_hosts.py.
    "waitid": "EAGAIN EINTR EINVAL",
    "kill": "EINVAL EPERM ESRCH",
    "pidfd_send_signal": "EBADF EINVAL EPERM ESRCH ENOSYS",
    # ---- Reading and writing: of connections, too ----
    "read": "EAGAIN EBADF EFAULT EINTR EINVAL EIO",
    "preadv2": "EAGAIN EBADF EFAULT EINTR EINVAL EIO ENOSYS EOPNOTSUPP EPERM",
    "write": "EAGAIN EBADF EFAULT EINTR EINVAL EIO ENOSPC EPIPE",
    "sendto": "EACCES EAGAIN EBADF ECONNRESET EFAULT EINTR EINVAL ENOBUFS ENOMEM ENOTCONN "
    "ENOTSOCK EPIPE",
    "recvfrom": "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK",
    "recvmsg": "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK",
    # ---- Set-up of a child ----
    # For these two the descriptor is given back all the same, as Linux does.
    "close": "EBADF EINTR EIO",
    "close_range": "EINVAL EMFILE ENOMEM ENOSYS",
    "fcntl": "EBADF EINVAL EMFILE EPERM",
    "prctl": "EINVAL",
    # ---- Unix sockets ----
    "flock": "EBADF EINTR EINVAL ENOLCK EAGAIN",
    "unlink": "EACCES EBUSY EIO EISDIR ENOENT ENOTDIR EPERM EROFS",
    # ---- Python: how many threads there are ----
    "openat": "EACCES EINTR EMFILE ENFILE ENOENT ENOMEM",
    "newfstatat": "EACCES EBADF ENOENT ENOMEM",
    "getdents64": "EBADF EFAULT EINVAL ENOENT ENOTDIR",
}

# Calls that cannot fail as they are made here, and why.
SURE = {
    "brk": "answers the end of the heap, never an errno; it is libc's own, in malloc",
    "exit_group": "does not return",
    "getpid": "always succeeds",
    "getppid": "always succeeds",
    "gettid": "always succeeds",
    "rt_sigprocmask": "fails for a wrong address or operation only; both are constants",
    "rt_sigaction": "fails for a wrong address or signal only; both are constants",
    "rt_sigreturn": "does not return",
    "futex": "waits for a lock of libc's or std's, which ask again whatever it answers",
    "sigaltstack": "fails for a wrong stack only; it is std's own, at the end of a program",
    "set_robust_list": "fails for a wrong size only; it is libc's own, in fork",
    "clock_gettime": "fails for a wrong address or clock only; both are constants",
    "getegid": "always succeeds",
    "getgroups": "fails for a wrong address or size only; both are constants",
    "getrusage": "fails for a wrong address or target only; both are constants",
    "tgkill": "raise, of the handler that crashes",
    "restart_syscall": "goes on with a call that a stop interrupted",
    "statx": "a hint of std::fs about how much there is to read",
    "lseek": "a hint of std::fs about how much there is to read",
}

# Where a call with such an errno may end the server once it runs, with an error.
FATAL = {
    "accept4": {"EBADF", "EFAULT", "EINVAL", "ENOTSOCK"},
    "epoll_wait": {"EBADF", "EFAULT", "EINVAL"},
    "epoll_pwait": {"EBADF", "EFAULT", "EINVAL"},
}

# What an error message calls it, where that is not the name of the call.
NAMES = {
    "epoll_create1": "epoll",
    "eventfd2": "eventfd",
    "signalfd4": "signalfd",
    "clone": "fork",
    "clone3": "fork",
    "accept4": "accept",
    "recvfrom": "recv",
    "epoll_pwait": "epoll_wait",
}

# What is asked of kernels and sandboxes that do not have a call: always.
OLDER = [
    ("close_range", "ENOSYS"),
    ("pidfd_open", "ENOSYS"),
    ("pidfd_send_signal", "ENOSYS"),
    ("pidfd_send_signal", "EPERM"),
    # waitid without P_PIDFD: Linux before 5.4.
    ("waitid", "EINVAL"),
    ("clone3", "ENOSYS"),
    ("signalfd4", "ENOSYS"),
    ("accept4", "ENOSYS"),
    ("epoll_create1", "ENOSYS"),
    ("eventfd2", "ENOSYS"),
    # Of an eventfd before Linux 5.8, and in a sandbox.
    ("preadv2", "EOPNOTSUPP"),
    ("preadv2", "EPERM"),
]

# What does not pass: each call from one on, or each second one.
LASTING = [
    ("accept4", "EBADF", 1, 1),
    ("accept4", "EMFILE", 1, 2),
    ("clone", "EAGAIN", 2, 2),
    ("epoll_wait", "EBADF", 1, 1),
    ("epoll_pwait", "EBADF", 1, 1),
    ("sendto", "EPIPE", 1, 1),
    # Of a few children that outstay their time: the first SIGKILL.
    ("pidfd_send_signal", "EINVAL", 3, 0),
    ("kill", "EINVAL", 3, 0),
    ("pidfd_open", "EMFILE", 4, 1),
    ("pidfd_open", "ESRCH", 4, 1),
    ("epoll_ctl", "ENOMEM", 20, 1),
]

# What a sandbox makes of a call that it hides, from then on.
FOREVER = ("EPERM", "ENOSYS", "EACCES", "EINVAL")

# Interrupted each second time.
INTERRUPTED = [call for call, errnos in ERRNOS.items() if "EINTR" in errnos.split()]
