#!/bin/sh
# Makes build/libforkserve.a: of what cargo makes, which has all of Rust's standard
# library in it, the parts that are needed, as one object whose only names are those
# of the shared library. So a program can have several libraries with parts in Rust.
set -eu

: "${BUILD:?}" "${LD:=ld}"
work=$BUILD/archive
mkdir -p "$work"
objcopy --remove-section=.llvmbc --remove-section=.llvmcmd target/release/libforkserve.a "$work/whole.a"
nm -D --defined-only --format=posix target/release/libforkserve.so | cut -d' ' -f1 > "$work/names"
# shellcheck disable=SC2046 # a word each
"$LD" -r --gc-sections $(sed 's/^/-u /' "$work/names") -o "$work/needed.o" "$work/whole.a"
objcopy --strip-debug --keep-global-symbols="$work/names" "$work/needed.o" "$work/forkserve.o"
rm -f "$BUILD/libforkserve.a"
ar rcsD "$BUILD/libforkserve.a" "$work/forkserve.o"
