/*
 * A program with a hole, as in a capture-the-flag contest. The Makefile builds it
 * without a canary and at a fixed address. Never serve it without ctf.c around it.
 *
 * What it says is on its standard output, and what it is told on its standard input.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <unistd.h>

/* Nothing calls this: it is what an exploit returns to. */
void win(void);
void win(void) {
    execl("/bin/sh", "sh", (char *)NULL);
    _exit(1);
}

static size_t most = 512; /* the hole; as a variable, so that no compiler sees it */

static void greet(void) {
    char name[32];
    ssize_t n = read(STDIN_FILENO, name, most);

    printf("hello %.*s\n", n < 32 ? (int)n : 32, name);
    fflush(stdout);
}

int main(void) {
    printf("What is your name?\n");
    fflush(stdout);
    greet();
    return 0;
}
