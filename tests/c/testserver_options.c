/* testserver's options that are a field of forkserve_options and nothing else. */
#include "testserver.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum kind { U32, I64, TEXT };
#define FIELD(name, kind, field)                                                               \
    { name, kind, offsetof(forkserve_options, field) }
static const struct field {
    const char *name;
    enum kind kind;
    size_t offset;
} fields[] = {
    FIELD("--spares", U32, spares),
    FIELD("--per-child", U32, connections_per_child),
    FIELD("--max-children", U32, max_children),
    FIELD("--max-per-source", U32, max_per_source),
    FIELD("--backlog", U32, backlog),
    FIELD("--lifetime", I64, lifetime_ms),
    FIELD("--grace", I64, grace_ms),
    FIELD("--kill-after", I64, kill_after_ms),
    FIELD("--fork-retry", I64, fork_retry_ms),
    FIELD("--linger", I64, linger_ms),
    FIELD("--refuse-message", TEXT, refuse_message),
    FIELD("--source-prefix-v4", U32, source_prefix_v4),
    FIELD("--source-prefix-v6", U32, source_prefix_v6),
    FIELD("--source-exempt", TEXT, source_exempt),
    FIELD("--rate", U32, rate),
    FIELD("--rate-burst", U32, rate_burst),
    FIELD("--rate-per-source", U32, rate_per_source),
    FIELD("--rate-per-source-burst", U32, rate_per_source_burst),
    FIELD("--rate-interval", I64, rate_interval_ms),
    FIELD("--penalty", I64, penalty_ms),
    FIELD("--penalty-max", I64, penalty_max_ms),
    FIELD("--penalty-statuses", TEXT, penalty_statuses),
    FIELD("--allow", TEXT, allow),
    FIELD("--deny", TEXT, deny),
};

int take_field(forkserve_options *options, const char *name, const char *value) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char *field = (char *)options + fields[i].offset;
        if (strcmp(name, fields[i].name) != 0)
            continue;
        if (fields[i].kind == U32)
            *(uint32_t *)(void *)field = (uint32_t)atoll(value);
        else if (fields[i].kind == I64)
            *(int64_t *)(void *)field = atoll(value);
        else
            *(const char **)(void *)field = value;
        return 1;
    }
    return 0;
}
