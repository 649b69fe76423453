#!/bin/sh
# Tests one wheel on each CPython that tests/python/pythons.py finds, and on the
# free-threaded ones what they build from the source package.
set -eu

: "${BUILD:?}" "${VENV:?}" "${PYTHON:=python3}"
out=$BUILD/pythons
tools=$out/tools/bin
pip() { "$1/bin/pip" install --quiet --disable-pip-version-check $2; }

rm -rf "$out"
(cd python && "$VENV/bin/maturin" build --release --locked --out "$out")
(cd python && "$VENV/bin/maturin" sdist --out "$out")
"$PYTHON" -m venv "$out/tools"
pip "$out/tools" auditwheel
"$tools/auditwheel" show "$out"/*-cp39-abi3-manylinux_*.whl
for kind in with-gil free-threaded; do
    case $kind in
    with-gil) package=$(echo "$out"/*.whl) ;;
    *) package=$(echo "$out"/*.tar.gz) ;;
    esac
    for python in $("$PYTHON" tests/python/pythons.py "--$kind"); do
        "$python" -VV
        venv=$out/$kind-$("$python" -c 'import sys; print(*sys.version_info[:2], sep=".")')
        "$python" -m venv "$venv"
        pip "$venv" "pytest pytest-timeout dnslib prometheus_client rpyc Werkzeug $package"
        # Not for each CPython; the tests with one that is missing are left out.
        for tool in coverage debugpy eventlet gevent opentelemetry-sdk; do
            pip "$venv" "--only-binary=:all: $tool" || echo "without $tool"
        done
        "$venv/bin/python" -m pytest -p no:cacheprovider tests/python
    done
done
pip "$out/tools" "$(echo "$out"/*.tar.gz)"
"$tools/python" -I -m forkserve --version
