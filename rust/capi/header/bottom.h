/* Initialisers. The rest of forkserve_stats and forkserve_error begins as zero. */
#define FORKSERVE_OPTIONS_INIT                                                             \
    {                                                                                      \
        sizeof(forkserve_options), 256, 0, 0, 1, 1024, FORKSERVE_AT_CAPACITY_QUEUE,        \
            FORKSERVE_ORPHANS_FINISH, 0, 0, 0, 0, 10000, 5000, 10000, NULL                 \
    }
#define FORKSERVE_STATS_INIT {sizeof(forkserve_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}}
#define FORKSERVE_ERROR_INIT {sizeof(forkserve_error), 0, {0}}
