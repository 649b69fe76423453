#!/bin/bash
# Unsafe code is denied everywhere, and so is unsafe code without a SAFETY note
# (Cargo.toml). The files of tools/unsafe-files may allow themselves the first, none
# the second; the core has all of it in one folder.
set -euo pipefail

git grep -l unsafe_code -- '*.rs' | diff tools/unsafe-files - || {
    echo 'files that allow unsafe code (>) are not those of tools/unsafe-files (<)' >&2
    exit 1
}
if git grep -nE 'undocumented_unsafe_blocks|multiple_unsafe_ops_per_block|unsafe_op_in_unsafe_fn' \
    -- '*.rs' rust/{bench,capi,core,xtask}/Cargo.toml python/Cargo.toml; then
    echo 'these change a lint about unsafe code' >&2
    exit 1
fi
if git grep -LE '^workspace = true|^unsafe_code = "(forbid|deny)"' -- 'rust/*/Cargo.toml' python/Cargo.toml |
    grep .; then
    echo 'these take no part in the lints of the workspace' >&2
    exit 1
fi
