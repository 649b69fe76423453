#!/bin/sh
# Fails with a line for each thing that a release of this tree still lacks. The rest of a
# release is a list in CONTRIBUTING.md.
set -eu

fail() {
    echo "release-check: $*" >&2
    failed=1
}

failed=
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
for key in repository homepage documentation; do
    address=$(sed -n "/^\[workspace.package\]/,/^\[/s/^$key = \"\(.*\)\"/\1/p" Cargo.toml)
    case $address in
    https://*.invalid/*) fail "Cargo.toml: $key is to be filled in: $address" ;;
    https://*) ;;
    *) fail "Cargo.toml: $key is no https address: '$address'" ;;
    esac
done
grep -q "^## \[$version\] - [0-9]\{4\}-[0-9][0-9]-[0-9][0-9]$" CHANGELOG.md ||
    fail "CHANGELOG.md: no heading '## [$version] - YEAR-MONTH-DAY'"
case ${MAINTAINER:-} in
'' | *@example.org*) fail "MAINTAINER, for the Debian packages, is to be set" ;;
esac
[ -z "$failed" ]
