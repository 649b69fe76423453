/*
 * The runner: `api_tests [part of a name]...` runs the tests whose names
 * contain one of the parts, or all. Output as of the Test Anything Protocol,
 * and a closing line "N passed, N failed". Exit status 1 if one failed.
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TIME_LIMIT_S
#define TIME_LIMIT_S 60
#endif

static struct test *first, **last = &first;

void test_register(struct test *test) {
    *last = test;
    last = &test->next;
}

static _Noreturn void fail(void) {
    fflush(NULL);
    _exit(FAILED);
}

void check(int holds, const char *what, const char *file, int line) {
    if (holds)
        return;
    fprintf(stderr, "# %s:%d: not so: %s (errno %d)\n", file, line, what, errno);
    fail();
}

void check_equal(int64_t got, int64_t want, const char *what, const char *file, int line) {
    if (got == want)
        return;
    fprintf(stderr, "# %s:%d: %s is %lld, not %lld\n", file, line, what, (long long)got,
            (long long)want);
    fail();
}

void check_text(const char *got, const char *want, const char *what, const char *file,
                int line) {
    if (got && strcmp(got, want) == 0)
        return;
    fprintf(stderr, "# %s:%d: %s is \"%s\", not \"%s\"\n", file, line, what,
            got ? got : "(NULL)", want);
    fail();
}

void check_contains(const char *got, const char *part, const char *file, int line) {
    if (strstr(got, part))
        return;
    fprintf(stderr, "# %s:%d: \"%s\" does not contain \"%s\"\n", file, line, got, part);
    fail();
}

int open_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    int count = -3; /* ".", ".." and the directory itself */

    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* In the test's own process. */
static _Noreturn void run_here(const struct test *test) {
    siginfo_t info;
    int before, fd;

    /* What the shell or make left open is no part of it. */
    for (fd = 3; fd < 1024; fd++)
        close(fd);
    before = open_descriptors();
    test->run();
    CHECK_EQUAL(open_descriptors(), before);
    CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD);
    /* Not _exit: leak checkers work at exit. */
    exit(0);
}

/* The test that runs, for who ends the runner. */
static volatile pid_t current;

static void end_all(int sig) {
    (void)sig;
    if (current > 0)
        kill(-current, SIGKILL);
    _exit(FAILED);
}

static int passes(const struct test *test, const sigset_t *child_signal) {
    struct timespec limit = {TIME_LIMIT_S, 0};
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        sigprocmask(SIG_UNBLOCK, child_signal, NULL);
        setpgid(0, 0);
        run_here(test);
    }
    setpgid(pid, pid);
    current = pid;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (sigtimedwait(child_signal, NULL, &limit) < 0 && errno == EAGAIN) {
            fprintf(stderr, "# %s: took longer than %d s\n", test->name, TIME_LIMIT_S);
            kill(pid, SIGKILL);
        }
    }
    current = 0;
    kill(-pid, SIGKILL); /* what a failed test may have left */
    if (WIFSIGNALED(status))
        fprintf(stderr, "# %s: signal %d\n", test->name, WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int wanted(const struct test *test, int parts, char **part) {
    int i;

    for (i = 0; i < parts; i++)
        if (strstr(test->name, part[i]))
            return 1;
    return parts == 0;
}

int main(int argc, char **argv) {
    int passed = 0, failed = 0;
    const struct test *test;
    sigset_t child_signal;

    setvbuf(stdout, NULL, _IOLBF, 0);
    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_signal, NULL);
    signal(SIGINT, end_all);
    signal(SIGTERM, end_all);
    for (test = first; test; test = test->next) {
        if (!wanted(test, argc - 1, argv + 1))
            continue;
        int ok = passes(test, &child_signal);
        *(ok ? &passed : &failed) += 1;
        printf("%s %d - %s\n", ok ? "ok" : "not ok", passed + failed, test->name);
    }
    printf("1..%d\n%d passed, %d failed\n", passed + failed, passed, failed);
    return failed > 0 || passed == 0;
}
