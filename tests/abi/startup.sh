#!/usr/bin/env bash
# What the library adds to the start of a program: `perf stat` of one that does
# nothing, without the library, with the shared one, and with the static one
# linked in; a hundred runs of each at a time, in turns, for ROUNDS rounds.
# Prints medians, and the median of the differences within a round.
#
#     startup.sh DIRECTORY_OF_THE_PROGRAMS [ROUNDS]

set -euo pipefail
cd -- "$1"
rounds=${2:-20}
export LC_ALL=C

measure() {
    perf stat -x, -r 100 -e task-clock,page-faults "./$1" 2>&1 > /dev/null |
        awk -F, '{ value[NR] = $1 } END { print value[1], value[2] }'
}

median() {
    sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

for program in without shared static; do
    measure "$program" > /dev/null # files into memory
    : > "$program.txt"
done
for _ in $(seq "$rounds"); do
    for program in without shared static; do
        measure "$program" >> "$program.txt"
    done
done
printf '%-8s  %12s  %11s  %10s\n' '' 'task-clock' 'beyond' 'page faults'
for program in without shared static; do
    clock=$(cut -d' ' -f1 "$program.txt" | median)
    faults=$(cut -d' ' -f2 "$program.txt" | median)
    more=$(paste -d' ' "$program.txt" without.txt | awk '{ print $1 - $3 }' | median)
    printf '%-8s  %9.3f ms  %8.3f ms  %10d\n' "$program" "$clock" "$more" "$faults"
done
