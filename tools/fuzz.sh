#!/bin/sh
# Fuzzes each target named, for FUZZ_SECONDS each. What is found lies in build/fuzz.
set -eu

: "${BUILD:?}" "${FUZZ_SECONDS:?}"
PATH=$PATH:$BUILD/tools/bin
command -v cargo-fuzz > /dev/null || cargo install --quiet --locked --root "$BUILD/tools" cargo-fuzz
for target; do
    mkdir -p "$BUILD/fuzz/$target"
    cargo +nightly fuzz run --fuzz-dir rust/fuzz --target-dir "$BUILD/fuzz/build" "$target" \
        "$BUILD/fuzz/$target" -- -max_total_time="$FUZZ_SECONDS" -artifact_prefix="$BUILD/fuzz/$target-"
done
