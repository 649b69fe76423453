/*
 * What the host of the testserver is like: what it does with its signals, its
 * children, its threads and its files. See testserver.c.
 */
#include "testserver.h"

#include <errno.h>
#include <forkserve.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t own_children[3];
static int own_child_count;

static void do_nothing(int number) {
    (void)number;
}

static void reap_everything(int number) {
    int saved = errno;
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved;
}

void stop(int number) {
    (void)number;
    (void)forkserve_server_stop(server);
}

void detach(int number) {
    (void)number;
    (void)forkserve_server_detach(server);
}

void on_signal(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL) < 0)
        abort();
}

FILE *busy_stream;

void open_busy_stream(void) {
    if (!busy_stream)
        busy_stream = fopen("/dev/null", "w");
    if (!busy_stream)
        abort();
}

/* A thread of a busy host: in malloc and stdio most of the time that it runs. */
static void *busy(void *null) {
    const struct timespec pause = {0, 100000};
    for (;;) {
        for (int i = 0; i < 20; i++) {
            char *memory = malloc(10000);
            fprintf(busy_stream, "%p\n", (void *)memory);
            fputs("", stdout);
            free(memory);
        }
        nanosleep(&pause, NULL);
    }
    return null;
}

static void make_thread(void *(*of)(void *)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, of, NULL) != 0)
        abort();
}

/* A thread that stops the server when SIGUSR1 asks for it. */
static void *stop_when_asked(void *null) {
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    while (sigwait(&set, &number) == 0)
        (void)forkserve_server_stop(server);
    return null;
}

/* A child of the host's own: one that ends at once, or one that waits for a
 * signal to end it. */
static void make_own_child(int ends) {
    struct line line;
    pid_t pid = fork();
    if (pid == 0) {
        while (!ends)
            pause();
        _exit(7);
    }
    own_children[own_child_count++] = pid;
    begin_line(&line, "own_child");
    add_number(&line, "pid", pid);
    end_line(&line);
}

static void remove_cwd(void) {
    char path[] = "/tmp/forkserve-cwd-XXXXXX";
    if (!mkdtemp(path) || chdir(path) < 0 || rmdir(path) < 0)
        abort();
}

int set_up(const char *name) {
    if (strcmp(name, "sigchld-ignored") == 0) {
        on_signal(SIGCHLD, SIG_IGN, 0);
    } else if (strcmp(name, "nocldwait") == 0) {
        on_signal(SIGCHLD, SIG_DFL, SA_NOCLDWAIT);
    } else if (strcmp(name, "sigchld-handler") == 0) {
        on_signal(SIGCHLD, do_nothing, 0);
    } else if (strcmp(name, "reaper") == 0) {
        on_signal(SIGCHLD, reap_everything, 0);
    } else if (strcmp(name, "alarm-1khz") == 0) {
        const struct itimerval every = {{0, 1000}, {0, 1000}};
        on_signal(SIGALRM, do_nothing, 0);
        setitimer(ITIMER_REAL, &every, NULL);
    } else if (strcmp(name, "threads") == 0) {
        open_busy_stream();
        for (int i = 0; i < 8; i++)
            make_thread(busy);
    } else if (strcmp(name, "own-child") == 0) {
        make_own_child(1);
    } else if (strcmp(name, "own-children") == 0) {
        for (int i = 0; i < 3; i++)
            make_own_child(i == 0);
    } else if (strcmp(name, "stop-thread") == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        make_thread(stop_when_asked);
    } else if (strcmp(name, "stdio-closed") == 0) {
        for (int fd = 0; fd < 3; fd++)
            close(fd);
    } else if (strcmp(name, "stdin-read") == 0) {
        while (getchar() != EOF)
            ;
    } else if (strcmp(name, "cwd-removed") == 0) {
        remove_cwd();
    } else if (strcmp(name, "unflushed") == 0) {
        printf("<host>");
    } else {
        return 0;
    }
    return 1;
}

/* After the loop: the host's own children must still be there to be waited for.
 * One that a signal ended has that as a negative status. */
static void put_own_child(pid_t pid) {
    struct line line;
    int status;
    pid_t got = waitpid(pid, &status, 0);
    begin_line(&line, "own_child_ended");
    add_number(&line, "pid", got);
    if (got != pid)
        add_number(&line, "errno", errno);
    else
        add_number(&line, "status",
                   WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
    end_line(&line);
}

void put_own_children(void) {
    for (int i = 0; i < own_child_count; i++)
        put_own_child(own_children[i]);
}
