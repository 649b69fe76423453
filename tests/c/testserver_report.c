/* What the testserver prints: events, its result, the counters. */
#include "tables.h"
#include "testserver.h"

#include <stdlib.h>
#include <unistd.h>

int report = STDOUT_FILENO;

/* One line as a whole, so that a reader never sees half of one. */
void put_line(const char *line, size_t len) {
    if (forkserve_write_all(report, line, len) < 0)
        _exit(3); /* Nobody is left to read. */
}

void begin_line(struct line *line, const char *event) {
    line->len = (size_t)snprintf(line->text, sizeof line->text, "{\"event\": \"%s\"", event);
}

void add_number(struct line *line, const char *name, long long value) {
    line->len += (size_t)snprintf(line->text + line->len, sizeof line->text - line->len,
                                  ", \"%s\": %lld", name, value);
}

void add_text(struct line *line, const char *name, const char *value) {
    line->len += (size_t)snprintf(line->text + line->len, sizeof line->text - line->len,
                                  ", \"%s\": \"", name);
    for (; *value && line->len < sizeof line->text - 8; value++) {
        if (*value == '"' || *value == '\\')
            line->text[line->len++] = '\\';
        /* In what a child has made up there may be anything. */
        line->text[line->len++] = (unsigned char)*value < ' ' ? '?' : *value;
    }
    line->text[line->len++] = '"';
}

void end_line(struct line *line) {
    line->text[line->len++] = '}';
    line->text[line->len++] = '\n';
    put_line(line->text, line->len);
}

static const char *const event_names[] = {
    [FORKSERVE_EVENT_LISTENING] = "listening",
    [FORKSERVE_EVENT_ACCEPTED] = "accepted",
    [FORKSERVE_EVENT_FORKED] = "forked",
    [FORKSERVE_EVENT_FORK_FAILED] = "fork_failed",
    [FORKSERVE_EVENT_HELD] = "held",
    [FORKSERVE_EVENT_REFUSED] = "refused",
    [FORKSERVE_EVENT_ENDED] = "ended",
    [FORKSERVE_EVENT_PAUSED] = "paused",
    [FORKSERVE_EVENT_RESUMED] = "resumed",
    [FORKSERVE_EVENT_DRAINING] = "draining",
    [FORKSERVE_EVENT_STOPPED] = "stopped",
    [FORKSERVE_EVENT_SUPERVISOR_ENDED] = "supervisor_ended",
    [FORKSERVE_EVENT_LISTENER_FAILED] = "listener_failed",
    [FORKSERVE_EVENT_CHILD_DISTRUSTED] = "child_distrusted",
    [FORKSERVE_EVENT_SPARES_RENEWED] = "spares_renewed",
    [FORKSERVE_EVENT_HANDSHAKE_TIMEOUT] = "handshake_timeout",
    [FORKSERVE_EVENT_EVICTED] = "evicted",
    [FORKSERVE_EVENT_SANDBOX_REDUCED] = "sandbox_reduced",
    [FORKSERVE_EVENT_SOCKET_FILE_LEFT] = "socket_file_left",
    [FORKSERVE_EVENT_EXEC_FAILED] = "exec_failed",
    [FORKSERVE_EVENT_DETACHED] = "detached",
    [FORKSERVE_EVENT_NOTIFY_FAILED] = "notify_failed",
    [FORKSERVE_EVENT_ANNOUNCED] = "announced",
};

#define NAME(number, name) [number] = name,
static const char *const reason_names[] = {"", REASONS(NAME)};

void observe(const forkserve_event *event, void *userdata) {
    struct line line;
    (void)userdata;
    begin_line(&line, event_names[event->type]);
    if (event->conn_id)
        add_number(&line, "id", (long long)event->conn_id);
    if (event->peer)
        add_text(&line, "peer", event->peer);
    if (event->address)
        add_text(&line, "address", event->address);
    if (event->path)
        add_text(&line, "path", event->path);
    if (event->pid)
        add_number(&line, "pid", event->pid);
    if (event->reason)
        add_text(&line, "reason", reason_names[event->reason]);
    if (event->error)
        add_number(&line, "error", event->error);
    if (event->type == FORKSERVE_EVENT_DRAINING || event->type == FORKSERVE_EVENT_DETACHED)
        add_number(&line, "live", (long long)event->live);
    if (event->type == FORKSERVE_EVENT_ENDED ||
        event->type == FORKSERVE_EVENT_SUPERVISOR_ENDED) {
        add_number(&line, "exit_code", event->exit_code);
        add_number(&line, "exit_signal", event->exit_signal);
    }
    if (event->type == FORKSERVE_EVENT_ENDED) {
        add_number(&line, "duration_us", (long long)event->duration_us);
        add_number(&line, "cpu_us", (long long)(event->user_us + event->system_us));
        add_number(&line, "max_rss_kib", (long long)event->max_rss_kib);
    }
    end_line(&line);
}

void put_result(int code, const char *message) {
    struct line line;
    begin_line(&line, "result");
    add_number(&line, "code", code);
    add_text(&line, "message", code < 0 ? message : "");
    end_line(&line);
}

#define ADD(name) add_number(&line, #name, (long long)stats.name);
void put_stats(void) {
    forkserve_stats stats = FORKSERVE_STATS_INIT;
    struct line line;
    if (forkserve_server_stats(server, &stats) < 0)
        abort();
    begin_line(&line, "stats");
    COUNTERS(ADD)
    end_line(&line);
}
