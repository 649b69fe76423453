/* forkserve_measure_fork: what a fork takes, and what of it is due to what. */
#include "support.h"
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define SIZE (64ul << 20)

static forkserve_fork_cost measured(void) {
    forkserve_fork_cost cost = {.size = sizeof cost};

    CHECK(forkserve_measure_fork(&cost, NULL, 0, NULL) > 0);
    return cost;
}

TEST(a_fork_costs_more_with_more_memory_and_mappings) {
    forkserve_fork_cost before = measured(), after;
    char *memory =
        (char *)mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(before.mappings > 5 && before.page_tables_kib > 0 && before.fork_ns > 0);
    CHECK_EQUAL(before.threads, 1);
    CHECK(memory != MAP_FAILED);
    madvise(memory, SIZE, MADV_NOHUGEPAGE);
    memset(memory, 1, SIZE);
    /* Three mappings of what was one. */
    CHECK_EQUAL(mprotect(memory + SIZE / 2, 4096, PROT_READ), 0);
    after = measured();
    CHECK(after.mappings >= before.mappings + 2);
    CHECK(after.private_kib - before.private_kib >= SIZE >> 10);
    CHECK(after.page_tables_kib - before.page_tables_kib >= SIZE >> 19);
    CHECK(after.fork_ns > before.fork_ns);
    /* The children are not the host's to wait for. */
    CHECK_EQUAL(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQUAL(errno, ECHILD);
    munmap(memory, SIZE);
}

TEST(the_parts_of_a_fork_are_its_libraries_and_its_memory) {
    forkserve_fork_cost cost = {.size = sizeof cost};
    forkserve_fork_cost_part parts[64] = {{.size = sizeof *parts}};
    unsigned long long mappings = 0, kib = 0;
    int count = forkserve_measure_fork(&cost, parts, 64, NULL), found = 0;

    CHECK(count > 3 && count <= 64);
    for (int i = 0; i < count; i++) {
        CHECK_EQUAL(parts[i].size, sizeof *parts);
        mappings += parts[i].mappings;
        kib += parts[i].private_kib;
        found |= strstr(parts[i].name, "/libc.so")  ? 1
                 : strstr(parts[i].name, "[stack]") ? 2
                                                    : 0;
    }
    CHECK_EQUAL(mappings, cost.mappings);
    CHECK_EQUAL(kib, cost.private_kib);
    CHECK_EQUAL(found, 3);
    /* Only as many as there is room for. */
    parts[1].name[0] = 'z';
    CHECK_EQUAL(forkserve_measure_fork(&cost, parts, 1, NULL) >= count - 1, 1);
    CHECK_EQUAL(parts[1].name[0], 'z');
}

TEST(measure_fork_tells_what_is_wrong) {
    forkserve_error error = FORKSERVE_ERROR_INIT;
    forkserve_fork_cost cost = {.size = sizeof cost};
    forkserve_fork_cost_part part = {.size = 0};

    CHECK_EQUAL(forkserve_measure_fork(NULL, NULL, 0, &error), -EINVAL);
    CHECK_CONTAINS(error.message, "out is NULL");
    CHECK_EQUAL(forkserve_measure_fork(&cost, NULL, 1, &error), -EINVAL);
    CHECK_CONTAINS(error.message, "parts is NULL");
    CHECK_EQUAL(forkserve_measure_fork(&cost, &part, 1, &error), -EINVAL);
    CHECK_CONTAINS(error.message, "parts: size is 0");
    cost.size = 1;
    CHECK_EQUAL(forkserve_measure_fork(&cost, NULL, 0, &error), -EINVAL);
    CHECK_CONTAINS(error.message, "out: size is 1");
}
