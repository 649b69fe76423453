/*
 * A small test framework. A test is a function named after the fact that it
 * shows; defining it with TEST registers it. Each runs in a process of its own
 * with a limit on its time, so that one cannot spoil another, and must leave no
 * descriptor and no child behind: the runner looks, after each.
 *
 * CHECK and its kin end the process on failure. In a child that a test made
 * they do too, with status FAILED, so the test has to look at the status.
 */
#ifndef TEST_H
#define TEST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FAILED 99

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

void test_register(struct test *test);

/* Whether to register a file's tests: it may define this otherwise. */
#ifndef WANTED
#define WANTED 1
#endif

#define TEST(name)                                                                             \
    static void name(void);                                                                    \
    static struct test name##_test = {#name, name, 0};                                         \
    __attribute__((constructor)) static void name##_register(void) {                           \
        if (WANTED)                                                                            \
            test_register(&name##_test);                                                       \
    }                                                                                          \
    static void name(void)

void check(int holds, const char *what, const char *file, int line);
void check_equal(int64_t got, int64_t want, const char *what, const char *file, int line);
void check_text(const char *got, const char *want, const char *what, const char *file,
                int line);
void check_contains(const char *got, const char *part, const char *file, int line);

#define CHECK(condition) check(!!(condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(got, want) check_equal((got), (want), #got, __FILE__, __LINE__)
#define CHECK_TEXT(got, want) check_text((got), (want), #got, __FILE__, __LINE__)
#define CHECK_CONTAINS(got, part) check_contains((got), (part), __FILE__, __LINE__)

/* Descriptors that this process has open. */
int open_descriptors(void);

#ifdef __cplusplus
}
#endif

#endif
