/*
 * What the files of the testserver share. It is described in testserver.c.
 */
#ifndef TESTSERVER_H
#define TESTSERVER_H

#include <forkserve.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

extern forkserve_server *server;
/* What threads of the host write to, and the handler "work": with one of them only
 * there is that descriptor. */
extern FILE *busy_stream;
void open_busy_stream(void);

/* A line of JSON, which begins with the name of an event. */
struct line {
    char text[2048];
    size_t len;
};
void begin_line(struct line *line, const char *event);
void add_number(struct line *line, const char *name, long long value);
void add_text(struct line *line, const char *name, const char *value);
void end_line(struct line *line);
/* One line as a whole, so that a reader never sees half of one. */
void put_line(const char *line, size_t len);
/* Where the lines go. */
extern int report;
/* The observer. */
void observe(const forkserve_event *event, void *userdata);
void put_result(int code, const char *message);
void put_stats(void);

/* The handler, and which one it is. */
int serve(const forkserve_conn *conn, void *userdata);
extern const char *handler_name;
/* A program, as in "stdio:/bin/sh:echo hello". */
void program_of(const char *text, int *io, char *argv[4]);
/* What all children inherit; less than 0: an error. */
int make_secret(void);

/* Writes the metrics, each line behind a word. */
void put_metrics(void);

/* Makes the host as the set-up of this name says; 0: there is none. */
int set_up(const char *name);
/* After the loop: the host's own children must still be there to be waited for. */
void put_own_children(void);
/* Without SA_RESTART: calls of the host are to be interrupted. */
void on_signal(int number, void (*handler)(int), int flags);
/* A signal handler. */
void stop(int number);
void detach(int number);

/* A handler: writes over all memory that is shared with other processes, with the
 * number of a process among other things, until the client has something to say. */
int scribble(int fd, pid_t victim);

/* A handler: tells the parent what is not true, and waits. */
int lie(int fd, const char *how);
/* A handler: has functions called at the end of its child. */
int end_with_functions(const forkserve_conn *conn);
/* A handler: an echo that is in its handshake until the client says otherwise. */
int establish(const forkserve_conn *conn);
/* A handler: tells what a proxy has said of its connection. */
int tell_proxied(const forkserve_conn *conn);
/* Gives up all rights; not 0: it failed. */
int become_nobody(void);

/* A handler: tries what the client's lines say. */
int try_out(int fd);

/* Sets an option of the server's by "name=value", or by a flag; 0: there is none. */
int take_option_text(forkserve_options *options, const char *text);
int take_flag(forkserve_options *options, const char *flag, const char *value);

#endif
