/*
 * The header alone, first and twice, as C99 and C11: whatever it needs it
 * includes, and it warns of nothing under -Wall -Wextra -Wpedantic.
 */
#include <forkserve.h>

#include <forkserve.h>

forkserve_options options = FORKSERVE_OPTIONS_INIT;
forkserve_stats stats = FORKSERVE_STATS_INIT;
forkserve_error error = FORKSERVE_ERROR_INIT;
unsigned version = FORKSERVE_VERSION;
