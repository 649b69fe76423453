/* testserver's options that are fields of forkserve_options: all of the table. */
#include "tables.h"
#include "testserver.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum kind { U32, I32, I64, TEXT, OCTAL };
struct field {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *words[4]; /* of a choice, by their numbers */
};

#define FIELD(name, kind, ...) {#name, kind, offsetof(forkserve_options, name), {__VA_ARGS__}},
#define NUMBER(name, ...) FIELD(name, U32, NULL)
#define FLAG(name) FIELD(name, I32, NULL)
#define TIME(name, ...) FIELD(name, I64, NULL)
#define BYTES(name, ...) FIELD(name, TEXT, NULL)
#define LIST(name) FIELD(name, TEXT, NULL)
#define MODE(name) FIELD(name, OCTAL, NULL)
#define SIGNED(name, ...) FIELD(name, I32, NULL)
#define PARSED(name, example) FIELD(name, TEXT, NULL)
#define CHOICE(name, ...) FIELD(name, I32, __VA_ARGS__)
static const struct field fields[] = {OPTIONS(NUMBER, FLAG, TIME, TIME, BYTES, CHOICE, LIST,
                                              LIST, MODE, LIST, SIGNED, SIGNED, PARSED, LIST,
                                              LIST)};

/* The number that an int32_t is given by: of a choice by its word. */
static int take_number(const struct field *field, const char *value, int32_t *number) {
    if (!field->words[0]) {
        *number = atoi(value);
        return 1;
    }
    for (*number = 0; *number < 4 && field->words[*number]; ++*number)
        if (strcmp(field->words[*number], value) == 0)
            return 1;
    return 0;
}

static int take(forkserve_options *options, const struct field *field, const char *value) {
    void *place = (char *)options + field->offset;
    switch (field->kind) {
    case U32:
        *(uint32_t *)place = (uint32_t)atoll(value);
        return 1;
    case I32:
        return take_number(field, value, place);
    case I64:
        *(int64_t *)place = atoll(value);
        return 1;
    case OCTAL:
        *(int32_t *)place = (int32_t)strtol(value, NULL, 8);
        return 1;
    case TEXT:
        *(const char **)place = value;
        return 1;
    }
    return 0;
}

/* "max_children=3"; whether there is such an option, with such a value. */
int take_option_text(forkserve_options *options, const char *text) {
    size_t len = strcspn(text, "=");
    for (size_t i = 0; text[len] && i < sizeof fields / sizeof *fields; i++)
        if (strlen(fields[i].name) == len && strncmp(text, fields[i].name, len) == 0)
            return take(options, &fields[i], text + len + 1);
    return 0;
}

/* "--max-children": the same as a flag, without the unit. */
int take_flag(forkserve_options *options, const char *flag, const char *value) {
    char name[64] = "", *end = name;
    if (strncmp(flag, "--", 2) != 0 || strlen(flag) >= sizeof name)
        return 0;
    for (flag += 2; *flag; flag++)
        *end++ = *flag == '-' ? '_' : *flag;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *rest = fields[i].name + (end - name);
        if (strncmp(fields[i].name, name, (size_t)(end - name)) == 0 &&
            (*rest == '\0' || strcmp(rest, "_ms") == 0))
            return take(options, &fields[i], value);
    }
    return 0;
}
