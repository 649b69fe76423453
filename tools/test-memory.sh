#!/bin/sh
# Runs the C and C++ tests and the C examples under a memory checker:
#
#     tools/test-memory.sh asan|valgrind
#
# TESTS_C, EXAMPLES_C: make in tests/c and in c-examples.
set -eu

: "${BUILD:?}" "${PY:?}" "${TESTS_C:?}" "${EXAMPLES_C:?}"
reports=$BUILD/$1
rm -rf "$reports"
mkdir "$reports"
export EXAMPLES_REPORTS="$reports"

case $1 in
asan)
    env $TESTS_C sanitize
    env $EXAMPLES_C OUT="$BUILD/sanitized" \
        CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover'
    export EXAMPLES="$BUILD/sanitized"
    export ASAN_OPTIONS="log_path=$reports/asan" UBSAN_OPTIONS="log_path=$reports/ubsan"
    left_out=''
    ;;
valgrind)
    env $TESTS_C valgrind
    export EXAMPLES_CHECKER="env LD_PRELOAD=$BUILD/tests/libold_calls.so valgrind --quiet \
        --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --error-exitcode=98 --log-file=$reports/%p --suppressions=$PWD/tests/c/valgrind.supp"
    left_out='not outside_of_the_folder'
    ;;
esac

# The tests that start the examples; the others are about their sources.
cd tests/e2e
"$PY" -m pytest -k "$left_out" test_examples.py test_example_http.py test_example_tls.py \
    test_example_users.py \
    test_from_the_notes.py::test_each_of_them_echoes_and_knows_its_arguments \
    --deselect test_examples.py::test_what_needs_a_missing_library_is_left_out_and_named
