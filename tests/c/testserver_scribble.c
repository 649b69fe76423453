/*
 * A child in the hands of an attacker, or one with a wild pointer: it writes over
 * all that it shares with its parent, again and again.
 */
#include "testserver.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct range {
    volatile uint64_t *start, *end;
};

/* What is mapped MAP_SHARED and writable, which in this program is the library's;
 * how many there are. */
static int shared_ranges(struct range *ranges, int most) {
    char line[512], may[8];
    uintptr_t start, end;
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");

    while (maps && count < most && fgets(line, sizeof line, maps))
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &start, &end, may) == 3 &&
            strcmp(may, "rw-s") == 0) {
            ranges[count].start = (volatile uint64_t *)start;
            ranges[count++].end = (volatile uint64_t *)end;
        }
    if (maps)
        fclose(maps);
    return count;
}

static uint64_t random_word(void) {
    return (uint64_t)(unsigned)random() << 40 ^ (uint64_t)(unsigned)random() << 20 ^
           (uint64_t)(unsigned)random();
}

static uint64_t word_of(int round, pid_t victim) {
    switch (round % 6) {
    case 0:
        return (uint64_t)victim;
    case 1:
        return 0;
    case 2:
        return UINT64_MAX;
    case 3:
        /* Small numbers: what a child does, how many there are. */
        return (uint64_t)random() % 8;
    default:
        return random_word();
    }
}

int scribble(int fd, pid_t victim) {
    const struct timespec pause = {0, 200000};
    struct range ranges[8];
    int count = shared_ranges(ranges, 8);
    char last = 'r';

    if (count == 0)
        return 1;
    srandom((unsigned)victim ^ (unsigned)time(NULL) ^ (unsigned)fd);
    for (int round = 0; recv(fd, &last, 1, MSG_DONTWAIT) < 0; round++) {
        for (int i = 0; i < count; i++)
            for (volatile uint64_t *at = ranges[i].start; at < ranges[i].end; at++)
                if (round % 2 == 0 || random() % 8 == 0)
                    *at = word_of(round, victim);
        nanosleep(&pause, NULL);
    }
    if (last == 'c')
        abort();
    return 0;
}
