/* Buffered output on both sides of the fork: each text exactly once. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *host_file;

/* From here on stdout is a fully buffered file, as with `program > file`. */
static int capture(void) {
    char name[] = "/tmp/forkserve-test-XXXXXX";
    int file = mkstemp(name);

    CHECK(file >= 0);
    unlink(name);
    fflush(stdout);
    CHECK_EQUAL(dup2(file, STDOUT_FILENO), STDOUT_FILENO);
    setvbuf(stdout, NULL, _IOFBF, 4096);
    return file;
}

static int times(const char *text, const char *part) {
    int count = 0;

    while ((text = strstr(text, part))) {
        text += strlen(part);
        count++;
    }
    return count;
}

static void check_captured(int file, int children) {
    char text[4096];
    ssize_t n;

    fflush(stdout);
    n = pread(file, text, sizeof text - 1, 0);
    CHECK(n >= 0);
    text[n] = '\0';
    CHECK_EQUAL(times(text, "host;"), 1);
    CHECK_EQUAL(times(text, "child;"), children);
    CHECK_EQUAL(strlen(text), 5 + 6 * (size_t)children);
    close(file);
}

static int print(const forkserve_conn *conn, void *userdata) {
    (void)conn, (void)userdata;
    printf("child;");
    if (host_file)
        fprintf(host_file, "child;");
    return 0;
}

TEST(files_of_the_hosts_own_are_flushed_too) {
    char name[] = "/tmp/forkserve-test-XXXXXX";
    int out = capture(), file = mkstemp(name), client;
    forkserve_server *server = server_at("127.0.0.1:0", NULL);

    CHECK(file >= 0);
    unlink(name);
    host_file = fdopen(file, "w+");
    client = queue_client(server, "x");
    fprintf(host_file, "host;");
    printf("host;");
    serve(server, print, NULL, 1);
    check_captured(out, 1);
    fflush(host_file);
    check_captured(dup(file), 1);
    fclose(host_file);
    close(client);
    forkserve_server_free(server);
}

static void *read_a_byte(void *input) {
    /* getc holds the lock of its stream while it waits. */
    CHECK_EQUAL(getc(input), EOF);
    return NULL;
}

TEST(a_thread_that_waits_for_input_holds_nothing_up) {
    int file = capture(), pair[2], client;
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    pthread_t thread;
    FILE *input;

    CHECK_EQUAL(pipe2(pair, O_CLOEXEC), 0);
    input = fdopen(pair[0], "r");
    CHECK_EQUAL(pthread_create(&thread, NULL, read_a_byte, input), 0);
    while (ftrylockfile(input) == 0) { /* until it has the lock */
        funlockfile(input);
        sched_yield();
    }
    client = queue_client(server, "x");
    printf("host;");
    serve(server, print, NULL, 1);
    check_captured(file, 1);
    close(pair[1]);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    fclose(input);
    close(client);
    forkserve_server_free(server);
}

static _Atomic int enough;

static void *print_now_and_then(void *count) {
    while (!enough) {
        printf("%08d;", ++*(int *)count);
        sched_yield();
    }
    return NULL;
}

/* Another thread may print between the flush and the fork. */
TEST(what_a_thread_prints_amid_forks_appears_once) {
    int file = capture(), count = 0, i, clients[100];
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    pthread_t thread;

    for (i = 0; i < 100; i++)
        clients[i] = queue_client(server, "x");
    CHECK_EQUAL(pthread_create(&thread, NULL, print_now_and_then, &count), 0);
    serve(server, echo, NULL, 100);
    enough = 1;
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    fflush(stdout);
    CHECK_EQUAL(lseek(file, 0, SEEK_END), 9 * (off_t)count);
    for (i = 0; i < 100; i++)
        close(clients[i]);
    close(file);
    forkserve_server_free(server);
}
