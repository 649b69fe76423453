/* forkserve_server_new: options, sizes of structs, errors. */
#include "support.h"
#include "tables.h"
#include "test.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char mark;
static forkserve_server *const UNTOUCHED = (forkserve_server *)(void *)&mark;

/* new must fail, name the culprit, leave out alone and leak nothing. */
static void check_refused(const forkserve_options *options, int code, const char *part) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server = UNTOUCHED;
    int before = open_descriptors();

    CHECK_EQUAL(forkserve_server_new(options, &server, &error), -code);
    CHECK_EQUAL(error.code, code);
    CHECK_CONTAINS(error.message, part);
    CHECK(!strchr(error.message, '\n'));
    CHECK(server == UNTOUCHED);
    CHECK_EQUAL(open_descriptors(), before);
    CHECK_EQUAL(forkserve_server_new(options, &server, NULL), -code);
}

static void check_taken(const forkserve_options *options) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;

    if (forkserve_server_new(options, &server, &error) != 0)
        CHECK_TEXT(error.message, "");
    forkserve_server_free(server);
}

TEST(new_takes_null_and_the_init_macro) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    check_taken(NULL);
    check_taken(&options);
}

TEST(new_wants_a_place_for_the_server) {
    forkserve_error error = FORKSERVE_ERROR_INIT;

    CHECK_EQUAL(forkserve_server_new(NULL, NULL, &error), -EINVAL);
    CHECK_TEXT(error.message, "out is NULL");
    CHECK_EQUAL(forkserve_server_new(NULL, NULL, NULL), -EINVAL);
}

/* Each option of the table at both ends of its range, and beyond. Enough room is made for
 * those that another option limits. */
#define BASE                                                                                   \
    forkserve_options options = FORKSERVE_OPTIONS_INIT;                                        \
    options.max_children = 1000000;                                                            \
    options.max_handshakes = 1000000;                                                          \
    options.penalty_max_ms = 1000000000000;                                                    \
    options.proxy_from = "::1"

#define IN_RANGE(field, value)                                                                 \
    do {                                                                                       \
        BASE;                                                                                  \
        options.field = (value);                                                               \
        check_taken(&options);                                                                 \
    } while (0)

#define OUT_OF_RANGE(field, value)                                                             \
    do {                                                                                       \
        BASE;                                                                                  \
        options.field = (value);                                                               \
        check_refused(&options, EINVAL, #field ": ");                                          \
    } while (0)

/* An unsigned field cannot be below 0, and some can be anything above. */
#define CHECK_NUMBER(field, least, most)                                                       \
    IN_RANGE(field, least);                                                                    \
    IN_RANGE(field, most);                                                                     \
    if ((least) > 0)                                                                           \
        OUT_OF_RANGE(field, (least)-1);                                                        \
    if ((most) < UINT32_MAX)                                                                   \
        OUT_OF_RANGE(field, (uint32_t)(most) + 1);
#define CHECK_FLAG(field)                                                                      \
    IN_RANGE(field, 0);                                                                        \
    IN_RANGE(field, 1);                                                                        \
    OUT_OF_RANGE(field, 2);                                                                    \
    OUT_OF_RANGE(field, -1);
#define CHECK_TIME(field, least, most)                                                         \
    IN_RANGE(field, least);                                                                    \
    IN_RANGE(field, most);                                                                     \
    OUT_OF_RANGE(field, (least)-1);                                                            \
    OUT_OF_RANGE(field, (most) + 1);                                                           \
    OUT_OF_RANGE(field, INT64_MIN);                                                            \
    OUT_OF_RANGE(field, INT64_MAX);
#define CHECK_LIMIT(field, none, most)                                                         \
    IN_RANGE(field, 0);                                                                        \
    CHECK_TIME(field, none, most)
#define CHECK_BYTES(field, most) check_length(offsetof(forkserve_options, field), #field, most);
#define CHECK_CHOICE(field, ...)                                                               \
    {                                                                                          \
        static const char *const words[] = {__VA_ARGS__};                                      \
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)                              \
            IN_RANGE(field, (int32_t)i);                                                       \
        OUT_OF_RANGE(field, (int32_t)(sizeof words / sizeof *words));                          \
        OUT_OF_RANGE(field, -1);                                                               \
    }
#define CHECK_NETWORKS(field)                                                                  \
    IN_RANGE(field, NULL);                                                                     \
    IN_RANGE(field, "");                                                                       \
    IN_RANGE(field, " , ");                                                                    \
    IN_RANGE(field, "::/0 0.0.0.0/0");                                                         \
    OUT_OF_RANGE(field, "10.0.0.0/33");                                                        \
    OUT_OF_RANGE(field, "localhost");                                                          \
    OUT_OF_RANGE(field, "\xff");
#define CHECK_STATUSES(field)                                                                  \
    IN_RANGE(field, "");                                                                       \
    IN_RANGE(field, "0, 255");                                                                 \
    OUT_OF_RANGE(field, "256");

#define CHECK_MODE(field)                                                                      \
    IN_RANGE(field, -1);                                                                       \
    IN_RANGE(field, 0);                                                                        \
    IN_RANGE(field, 0777);                                                                     \
    OUT_OF_RANGE(field, 01000);                                                                \
    OUT_OF_RANGE(field, -2);
/* Who that is, listen looks up. */
#define CHECK_ACCOUNT(field)                                                                   \
    IN_RANGE(field, NULL);                                                                     \
    IN_RANGE(field, "");                                                                       \
    IN_RANGE(field, "0");                                                                      \
    IN_RANGE(field, "somebody");

#define CHECK_SIGNED(field, least, most)                                                       \
    IN_RANGE(field, least);                                                                    \
    IN_RANGE(field, most);                                                                     \
    OUT_OF_RANGE(field, (least)-1);                                                            \
    OUT_OF_RANGE(field, (most) + 1);
#define CHECK_SETTING(field, none, least, most)                                                \
    IN_RANGE(field, none);                                                                     \
    IN_RANGE(field, least);                                                                    \
    IN_RANGE(field, most);                                                                     \
    OUT_OF_RANGE(field, (none)-1);                                                             \
    OUT_OF_RANGE(field, (most) + 1);
#define CHECK_TEXT_OF(field, example)                                                          \
    IN_RANGE(field, NULL);                                                                     \
    IN_RANGE(field, "");                                                                       \
    IN_RANGE(field, example);                                                                  \
    OUT_OF_RANGE(field, "nonsense");                                                           \
    OUT_OF_RANGE(field, "\xff");
/* Whether there is such a thing is seen when serving begins. */
#define CHECK_PATH(field)                                                                      \
    IN_RANGE(field, NULL);                                                                     \
    IN_RANGE(field, "");                                                                       \
    IN_RANGE(field, "nonsense");

static void check_length(size_t offset, const char *name, size_t most) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;
    char *text = calloc(1, most + 2), expected[80];

    CHECK(text);
    memset(text, 'x', most);
    memcpy((char *)&options + offset, &text, sizeof text);
    check_taken(&options);
    text[most] = 'x';
    snprintf(expected, sizeof expected, "%s: %zu bytes are more than %zu", name, most + 1,
             most);
    check_refused(&options, EINVAL, expected);
    text[0] = '\0';
    check_taken(&options);
    free(text);
}

TEST(options_are_taken_within_their_range_only){
    OPTIONS(CHECK_NUMBER, CHECK_FLAG, CHECK_TIME, CHECK_LIMIT, CHECK_BYTES, CHECK_CHOICE,
            CHECK_NETWORKS, CHECK_STATUSES, CHECK_MODE, CHECK_ACCOUNT, CHECK_SIGNED,
            CHECK_SETTING, CHECK_TEXT_OF, CHECK_PATH, CHECK_PATH)}

TEST(the_message_tells_the_value_and_the_range) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.max_children = 1000001;
    check_refused(&options, EINVAL, "1000001 is not in the range 1 to 1000000");
    options.max_children = 1;
    options.grace_ms = -7;
    check_refused(&options, EINVAL, "-7 is not in");
}

TEST(spares_are_limited_by_themselves_and_by_max_children) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.max_children = 20000;
    options.spares = 10000;
    check_taken(&options);
    options.spares = 10001;
    check_refused(&options, EINVAL, "spares: 10001 is not in the range 0 to 10000");
    options.max_children = 3;
    options.spares = 4;
    check_refused(&options, EINVAL, "spares: 4 is more than max_children, 3");
}

TEST(an_entry_of_a_list_that_cannot_be_used_is_named) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.allow = "10.0.0.0/8, 10.0.0.5/8";
    check_refused(&options, EINVAL, "allow: entry 2, \"10.0.0.5/8\": bits are set behind");
    options.allow = NULL;
    options.deny = "::1,nobody";
    check_refused(&options, EINVAL, "deny: entry 2, \"nobody\": not an IP address");
    options.deny = NULL;
    options.penalty_statuses = "1 -1";
    check_refused(&options, EINVAL,
                  "penalty_statuses: entry 2, \"-1\", is not in the range 0 to 255");
    options.penalty_statuses = "1000000000000000000000";
    check_refused(&options, EINVAL, "penalty_statuses: entry 1");
}

/* A caller that was compiled against another version of the struct. */
union wide {
    forkserve_options options;
    unsigned char bytes[4097];
};

static union wide wide_options(size_t size) {
    forkserve_options init = FORKSERVE_OPTIONS_INIT;
    union wide wide;

    memset(&wide, 0, sizeof wide);
    wide.options = init;
    wide.options.size = size;
    return wide;
}

TEST(options_smaller_than_any_version_are_refused) {
    size_t sizes[] = {0, 1, sizeof(size_t), sizeof(forkserve_options) - 1};
    size_t i;

    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        union wide wide = wide_options(sizes[i]);
        check_refused(&wide.options, EINVAL, "options: size ");
    }
}

TEST(options_of_a_newer_caller_are_taken_if_it_sets_nothing_new) {
    size_t sizes[] = {sizeof(forkserve_options) + 1, sizeof(forkserve_options) + 64, 4096};
    size_t i;

    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        union wide wide = wide_options(sizes[i]);
        check_taken(&wide.options);
        /* What lies behind the struct is not looked at. */
        wide.bytes[sizes[i]] = 1;
        check_taken(&wide.options);
    }
}

TEST(a_field_that_the_library_does_not_know_is_e2big) {
    size_t size = sizeof(forkserve_options) + 64;
    size_t at[] = {sizeof(forkserve_options), size - 1};
    size_t i;

    for (i = 0; i < sizeof at / sizeof *at; i++) {
        union wide wide = wide_options(size);
        wide.bytes[at[i]] = 1;
        check_refused(&wide.options, E2BIG, "options: ");
    }
}

TEST(options_without_a_believable_size_are_refused) {
    union wide wide = wide_options(4097);

    check_refused(&wide.options, EINVAL, "size is 4097");
    wide = wide_options(SIZE_MAX);
    check_refused(&wide.options, EINVAL, "options: size ");
}

TEST(new_fails_cleanly_without_descriptors) {
    struct rlimit limit, before;
    int used = dup(0), room, refused = 0;
    forkserve_server *server;

    close(used); /* the lowest free number: all below are open */
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (room = 0; room < 8; room++) {
        forkserve_error error = FORKSERVE_ERROR_INIT;
        int result;

        limit = before;
        limit.rlim_cur = (rlim_t)(used + room);
        CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
        server = UNTOUCHED;
        result = forkserve_server_new(NULL, &server, &error);
        CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (result == 0)
            break;
        refused++;
        CHECK_EQUAL(result, -EMFILE);
        CHECK_EQUAL(error.code, EMFILE);
        CHECK_CONTAINS(error.message, "Too many open files");
        CHECK(server == UNTOUCHED);
        CHECK_EQUAL(dup(0), used);
        close(used);
    }
    CHECK(refused >= 2 && room < 8);
    forkserve_server_free(server);
}

TEST(what_the_system_lacks_comes_back_from_new) {
    forkserve_server *server = UNTOUCHED;

    eventfd_errno = ENFILE;
    check_refused(NULL, ENFILE, "eventfd: ");
    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), -ENFILE);
    eventfd_errno = ENOMEM;
    check_refused(NULL, ENOMEM, "eventfd: ");
    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), -ENOMEM);
    CHECK(server == UNTOUCHED);
    eventfd_errno = 0;
    check_taken(NULL);
}

TEST(a_kernel_without_pidfds_is_told_at_once) {
    forkserve_server *server = UNTOUCHED;

    pidfd_errno = ENOSYS;
    check_refused(NULL, ENOSYS, "Linux 5.10");
    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), -ENOSYS);
    pidfd_errno = 0;
    check_taken(NULL);
}

TEST(error_is_written_on_failure_only) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;

    error.code = 4711;
    strcpy(error.message, "mine");
    CHECK_EQUAL(forkserve_server_new(NULL, &server, &error), 0);
    CHECK_EQUAL(error.code, 4711);
    CHECK_TEXT(error.message, "mine");
    forkserve_server_free(server);
}

TEST(error_of_another_size_is_not_overrun) {
    size_t head = offsetof(forkserve_error, message), room, i;

    for (room = 0; room < 14; room++) {
        struct {
            forkserve_error error;
            char behind[64];
        } wide;

        memset(&wide, 'z', sizeof wide);
        wide.error.size = head + room;
        CHECK_EQUAL(forkserve_server_new(NULL, NULL, &wide.error), -EINVAL);
        for (i = room; i < sizeof wide.error.message; i++)
            CHECK_EQUAL(wide.error.message[i], 'z');
        if (room) {
            CHECK_EQUAL(wide.error.code, EINVAL);
            CHECK_EQUAL(strlen(wide.error.message), room - 1 < 11 ? room - 1 : 11);
            CHECK(strncmp(wide.error.message, "out is NULL", room - 1) == 0);
        }
        /* A newer caller's struct: what lies behind the known part stays. */
        wide.error.size = sizeof wide.error + 32;
        CHECK_EQUAL(forkserve_server_new(NULL, NULL, &wide.error), -EINVAL);
        CHECK_TEXT(wide.error.message, "out is NULL");
        for (i = 0; i < sizeof wide.behind; i++)
            CHECK_EQUAL(wide.behind[i], 'z');
    }
}

TEST(a_long_message_is_cut_and_ends_with_nul) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_server *server;
    char address[1200];

    memset(address, 'x', sizeof address);
    address[sizeof address - 1] = '\0';
    CHECK_EQUAL(forkserve_server_new(NULL, &server, NULL), 0);
    CHECK_EQUAL(forkserve_server_listen(server, address, &error), -EINVAL);
    CHECK_EQUAL(strlen(error.message), sizeof error.message - 1);
    forkserve_server_free(server);
}

TEST(free_takes_null) {
    forkserve_server_free(NULL);
}

TEST(version_is_that_of_the_header) {
    char text[32];

    CHECK_EQUAL(forkserve_version(), FORKSERVE_VERSION);
    snprintf(text, sizeof text, "%d.%d.%d", FORKSERVE_VERSION_MAJOR, FORKSERVE_VERSION_MINOR,
             FORKSERVE_VERSION_PATCH);
    CHECK_TEXT(text, FORKSERVE_VERSION_STRING);
    CHECK_TEXT(text, CARGO_VERSION);
}

TEST(strerror_knows_every_number_with_either_sign) {
    int code;

    for (code = 1; code <= EHWPOISON; code++) {
        CHECK(forkserve_strerror(code) == forkserve_strerror(-code));
        CHECK(strcmp(forkserve_strerror(code), forkserve_strerror(99999)) != 0);
        /* These mean something of their own here. */
        if (code != ECHILD && code != ESHUTDOWN && code != ENOTRECOVERABLE)
            CHECK_TEXT(forkserve_strerror(code), strerror(code));
        else
            CHECK(strcmp(forkserve_strerror(code), strerror(code)) != 0);
    }
    CHECK_TEXT(forkserve_strerror(0), "Success");
    CHECK(*forkserve_strerror(INT32_MIN) && *forkserve_strerror(INT32_MAX));
    CHECK(forkserve_strerror(INT32_MIN) == forkserve_strerror(99999));
}

TEST(early_drop_is_limited_by_max_handshakes) {
    forkserve_options options = FORKSERVE_OPTIONS_INIT;

    options.early_drop_from = 11;
    options.max_handshakes = 10;
    check_refused(&options, EINVAL, "early_drop_from: 11 is more than max_handshakes, 10");
    options.early_drop_from = 1;
    options.max_handshakes = 0;
    check_refused(&options, EINVAL, "early_drop_from: 1 is more than max_handshakes, 0");
}
