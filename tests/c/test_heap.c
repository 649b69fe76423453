/* forkserve_prepare_heap: huge pages where there were small ones. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (64ul << 20)
#define HUGE (2ul << 20)

/* A line of smaps_rollup, in bytes. */
static unsigned long rollup(const char *field) {
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    unsigned long kib, found = 0;
    char line[256], name[64];

    CHECK(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%63[^:]: %lu kB", name, &kib) == 2 && strcmp(name, field) == 0)
            found = kib << 10;
    fclose(file);
    return found;
}

/* Private memory in pages of 4 KiB, each of which has been written to. */
static unsigned char *small_pages(void) {
    unsigned char *memory =
        mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned long i;

    CHECK(memory != MAP_FAILED);
    /* Where the system makes huge pages by itself, not while it is filled. */
    CHECK_EQUAL(madvise(memory, SIZE, MADV_NOHUGEPAGE), 0);
    for (i = 0; i < SIZE; i++)
        memory[i] = (unsigned char)(i / 4096 * 7 + i);
    return memory;
}

static void check_content(const unsigned char *memory) {
    unsigned long i;

    for (i = 0; i < SIZE; i++)
        if (memory[i] != (unsigned char)(i / 4096 * 7 + i))
            CHECK_EQUAL(i, -1);
}

/* Whether this kernel collapses memory when asked to (Linux 6.1). */
static int kernel_collapses(void) {
    unsigned char *memory =
        mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *at = (unsigned char *)(((uintptr_t)memory + HUGE - 1) & ~(HUGE - 1));
    int result;

    CHECK(memory != MAP_FAILED);
    *at = 1;
    result = madvise(at, HUGE, 25 /* MADV_COLLAPSE */);
    munmap(memory, 2 * HUGE);
    return result == 0;
}

TEST(prepare_heap_puts_memory_into_huge_pages) {
    unsigned char *memory = small_pages();
    unsigned long before = rollup("AnonHugePages"), got;

    CHECK(rollup("Anonymous") >= SIZE);
    CHECK_EQUAL(madvise(memory, SIZE, MADV_HUGEPAGE), 0);
    got = forkserve_prepare_heap();
    if (kernel_collapses()) {
        /* All but what lies before and behind the borders of huge pages. */
        CHECK(got >= SIZE - 2 * HUGE);
        CHECK_EQUAL(got % HUGE, 0);
        CHECK(rollup("AnonHugePages") >= before + SIZE - 2 * HUGE);
        /* What is in huge pages already counts again. */
        CHECK(forkserve_prepare_heap() >= SIZE - 2 * HUGE);
    } else {
        CHECK_EQUAL(got, 0);
        CHECK_EQUAL(rollup("AnonHugePages"), before);
    }
    check_content(memory);
    munmap(memory, SIZE);
}

TEST(prepare_heap_leaves_memory_alone_that_is_to_have_small_pages) {
    unsigned char *memory = small_pages(), *lower = small_pages();
    unsigned long before = rollup("AnonHugePages"), got;

    if (lower > memory) { /* valgrind puts memory elsewhere */
        munmap(memory, SIZE);
        munmap(lower, SIZE);
        return;
    }
    CHECK_EQUAL(madvise(memory, SIZE, MADV_HUGEPAGE), 0);
    got = forkserve_prepare_heap();
    if (kernel_collapses()) {
        CHECK(got >= SIZE - 2 * HUGE && got < 2 * SIZE - 4 * HUGE);
        CHECK(rollup("AnonHugePages") < before + 2 * SIZE - 4 * HUGE);
    }
    check_content(memory);
    check_content(lower);
    munmap(memory, SIZE);
    munmap(lower, SIZE);
}

TEST(prepare_heap_does_nothing_where_the_kernel_refuses) {
    int errors[] = {EINVAL, ENOMEM, EAGAIN, EBUSY, EPERM};
    unsigned char *memory = small_pages();
    unsigned long before = rollup("AnonHugePages");
    size_t i;

    for (i = 0; i < sizeof errors / sizeof *errors; i++) {
        madvise_errno = errors[i];
        CHECK_EQUAL(forkserve_prepare_heap(), 0);
    }
    madvise_errno = 0;
    CHECK_EQUAL(rollup("AnonHugePages"), before);
    check_content(memory);
    munmap(memory, SIZE);
}

TEST(a_prepared_host_serves_as_any_other) {
    unsigned char *memory = small_pages();
    forkserve_server *server = server_at("127.0.0.1:0", NULL);
    int client = queue_client(server, "hello");

    CHECK_EQUAL(madvise(memory, SIZE, MADV_HUGEPAGE), 0);
    forkserve_prepare_heap();
    serve(server, echo, NULL, 1);
    check_reply(client, "hello");
    CHECK_EQUAL(entry_of(FORKSERVE_EVENT_ENDED, 0)->event.exit_code, 0);
    check_content(memory);
    munmap(memory, SIZE);
    forkserve_server_free(server);
}
