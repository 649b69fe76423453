# Everything that a person does here is a target; `make` alone lists them.
# What a target needs and does not find, it installs: Debian packages with
# apt-get (as root, or with sudo), Python packages into build/venv.
# What takes more than a few lines is a script in tools/.

MAKEFLAGS += --no-print-directory --no-builtin-rules
SHELL := /bin/bash -o pipefail
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
HOST ?= 127.0.0.1
PORT ?= 7000
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=
PYTHON ?= python3
CC ?= cc
# make deb: who answers for the packages.
MAINTAINER ?= $(or $(DEBFULLNAME),The forkserve authors) <$(or $(DEBEMAIL),forkserve@example.org)>
# Tests that are run at once: they wait more than they compute. 0: one after the other.
JOBS ?= $(shell echo $$((2 * $$(nproc))))
# make check: the end-to-end tests' fronts (tests/e2e/harness/fronts.py).
FRONTS ?= c-run,c-start-ahead,python-run-ahead
# make bench: beginnings of the rows to measure, all of them if empty; pairs a row.
ROWS ?=
ROUNDS ?= 15
# make fuzz: how long each, and which.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= address networks proxy shared structs
# make soak: connections through each mode; the seed, the time if empty.
COUNT ?= 1000000
SEED ?=

BUILD := $(CURDIR)/build
STAGE := $(BUILD)/stage
VENV := $(BUILD)/venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadgroup
export VERSION BUILD VENV PY PYTHON

# What is built with the library as installed in build/stage, as users build it.
STAGED := PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig $(MAKE) CC=$(CC) STAGE=$(STAGE)
TESTS_C := $(STAGED) -C tests/c OUT=$(BUILD)/tests
EXAMPLES_C := $(STAGED) -C c-examples OUT=$(BUILD)/examples
ABI := $(STAGED) -C tests/abi OUT=$(BUILD)/tests/abi

# All but the files in build/venv.
.PHONY: $(shell sed -n "s/^\([a-z][a-z0-9-]*\):.*/\1/p" Makefile)

##@ Use it

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: stage ## Start the echo server: make run HOST=127.0.0.1 PORT=7000
	@$(EXAMPLES_C) $(BUILD)/examples/echo
	@echo "Echo server. Talk to it from another terminal:  nc $(HOST) $(PORT)"
	@echo "Ctrl-C lets the connections finish and stops it."
	@exec $(BUILD)/examples/echo $(HOST) $(PORT)

build: cli ## Build the Rust crate, the C library and the command
	cargo build --release --locked -p forkserve -p forkserve-capi

cli: ## Build the command: target/release/forkserve
	cargo build --release --locked -p forkserve-cli

man: ## Write the manual pages and the completions into build/man, build/completions
	@cargo run --quiet --locked -p forkserve-xtask --no-default-features -- man $(BUILD)/man
	@cargo run --quiet --release --locked -p forkserve-cli --example pages -- $(BUILD)/man $(BUILD)/completions

install: archive man ## Install the C library and the command: make install PREFIX=/usr/local DESTDIR=
	PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' LIBDIR='$(LIBDIR)' INCLUDEDIR='$(INCLUDEDIR)' MANDIR='$(MANDIR)' \
	  DESTDIR='$(DESTDIR)' tools/install.sh

docs: man python need-docs $(VENV)/.docs ## Build the site: build/site/index.html
	tools/site.sh

examples: build-examples need-test $(VENV)/.tools ## Build the C examples, and try each of them
	$(PY) -m pytest tests/e2e/test_example*.py

python: $(VENV)/.tools ## Build the Python module into build/venv
	cd python && VIRTUAL_ENV=$(VENV) $(VENV)/bin/maturin develop --release --locked --quiet

wheel: $(VENV)/.tools ## Build the Python wheel into build/wheels
	cd python && $(VENV)/bin/maturin build --release --locked --out $(BUILD)/wheels

deb: need-deb $(VENV)/.tools ## Build the Debian packages into build/deb
	MAINTAINER='$(MAINTAINER)' tools/deb.sh

##@ Check it

test: test-rust test-c test-python test-e2e ## Run every test: Rust, C, Python, end to end

check: test-servers ## Run what fails first, in under two minutes: for the edit loop
	cargo test --quiet --locked -p forkserve -p forkserve-capi
	$(TESTS_C) $(BUILD)/tests/api_tests && $(BUILD)/tests/api_tests
	$(PYTEST) tests/python
	FRONTS=$(FRONTS) $(PYTEST) tests/e2e --ignore tests/e2e/test_faults.py

test-rust: ## Run the Rust tests
	cargo test --locked --workspace --exclude forkserve-python

test-c: build-examples ## Run the C tests against the staged library
	$(TESTS_C) check

test-python: python ## Run the Python tests, and the quick ones of CPython
	$(PYTEST) tests/python
	$(PYTEST) tests/cpython -m "not slow"

test-cpython: python ## Run all of CPython's tests of servers and fork: PYTHONS=path:path
	$(PY) -m pytest tests/cpython

test-pythons: $(VENV)/.tools ## Test one wheel on each CPython (on PATH, in PYTHONS=), and the sdist
	tools/test-pythons.sh

test-e2e: test-servers ## Run the end-to-end tests
	$(PYTEST) tests/e2e

test-deb: deb need-test-deb ## Check the Debian packages, and install them into a clean root
	$(PY) -m pytest tests/packages

faults: test-servers ## Fail every system call in every way, and write docs/reliability.md
	cd tests/e2e && $(PY) -m faults --write $(CURDIR)/docs/reliability.md

test-asan: build-examples need-test $(VENV)/.tools ## Run the C and C++ tests and the examples with AddressSanitizer, UBSan
	TESTS_C='$(TESTS_C)' EXAMPLES_C='$(EXAMPLES_C)' tools/test-memory.sh asan

test-valgrind: build-examples need-test need-valgrind $(VENV)/.tools ## Run the C and C++ tests and the examples under valgrind
	TESTS_C='$(TESTS_C)' EXAMPLES_C='$(EXAMPLES_C)' tools/test-memory.sh valgrind

test-kernel: stage need-kernel ## Run the C tests on another kernel, emulated: make test-kernel KERNEL=vmlinuz
	$(TESTS_C) KERNEL=$(abspath $(KERNEL)) boot

stress: test-servers ## Serve 50,000 connections of a host with busy threads, a crowd of 10,000, 1,000 clients a program
	ulimit -n 20000 && STRESS_CONNECTIONS=50000 STRESS_CROWD=10000 STRESS_PROGRAMS=1000 $(PY) -m pytest \
	  --timeout 3600 tests/e2e -k 'busy_threads or crowd_from_one_address or test_serve_programs'

flood: test-servers ## Measure how long a polite client waits in a flood of silent ones, and write docs/benchmarks.md
	cd tests/e2e && $(PY) -m flood --write $(CURDIR)/docs/benchmarks.md

miri: ## Run the Rust tests that make no process in Miri (nightly Rust)
	rustup component add miri rust-src --toolchain nightly || { echo 'make miri needs nightly Rust:' \
	  'rustup toolchain install nightly --component miri --component rust-src' >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation CARGO_TARGET_DIR=$(BUILD)/miri \
	  cargo +nightly miri test --locked -p forkserve --lib

fuzz: ## Fuzz all that reads outside input: make fuzz FUZZ_SECONDS=60 (nightly Rust, C++)
	FUZZ_SECONDS=$(FUZZ_SECONDS) tools/fuzz.sh $(FUZZ_TARGETS)

soak: examples test-servers ## Run a million connections through each mode: make soak COUNT=1000000 SEED=
	cargo build --release --locked -p forkserve-bench
	target/release/forkserve-bench soak --count $(COUNT) $(if $(SEED),--seed $(SEED)) \
	  --write docs/reliability.md

lint: tables-check header-check abi-check man-check unsafe-check rooms-check need-lint $(VENV)/.tools ## Check format, lints, header, ABI, manual and types
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	git ls-files '*.c' '*.cc' | xargs clang-format --dry-run --Werror
	$(VENV)/bin/ruff check python tests
	$(VENV)/bin/ruff format --check python tests
	$(MAKE) python
	cd python && $(VENV)/bin/mypy --strict forkserve
	cd python && $(VENV)/bin/basedpyright --pythonpath $(PY)
	cd $(BUILD) && PATH=$(VENV)/bin:$$PATH basedpyright --verifytypes forkserve --ignoreexternal | tail -n 4
	$(PY) -m mypy.stubtest forkserve --ignore-missing-stub --allowlist python/stubtest.txt
	$(MAKE) docs

unsafe-check: ## Fail if unsafe code is allowed where it is not meant to be
	@tools/unsafe-check.sh

rooms-check: ## Fail if rooms use each other in a circle, or a file is too long
	@$(PYTHON) tools/rooms.py
	@$(PYTHON) tools/lengths.py

fmt: need-lint $(VENV)/.tools ## Format all sources
	cargo fmt --all
	git ls-files '*.c' '*.cc' | xargs clang-format -i
	$(VENV)/bin/ruff format python tests

tables: ## Write what is made from the tables of options, reasons and counters, and the header
	cargo run --quiet --locked -p forkserve-xtask -- tables
	cargo run --quiet --locked -p forkserve-xtask -- header

tables-check: ## Fail if something has drifted from the tables
	cargo run --quiet --locked -p forkserve-xtask -- tables --check

header: ## Write include/forkserve.h from the C crate
	cargo run --quiet --locked -p forkserve-xtask -- header

pictures: ## Draw the pictures of the pages from tools/pictures.py
	tools/pictures.py

release-check: ## Fail if something is left to fill in: at a release
	MAINTAINER='$(MAINTAINER)' tools/release-check.sh

header-check: ## Fail if include/forkserve.h has drifted
	cargo run --quiet --locked -p forkserve-xtask -- header --check

abi: need-abi ## Take the present ABI for that of the last release: at a release
	$(ABI) dump

abi-check: need-abi ## Fail if the ABI breaks programs of the last release
	$(ABI) diff

man-check: man need-lint ## Fail if a manual page is malformed
	find $(BUILD)/man -type f | xargs mandoc -Tlint -Wwarning

bench: stage python cli need-bench ## Measure against the rivals, and write docs/benchmarks.md
	mkdir -p $(BUILD)/bench
	$(CC) -O2 -Wall -Wextra -o $(BUILD)/bench/forkserve_echo rust/bench/bare/forkserve_echo.c \
	  $$(PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig pkg-config --cflags --libs forkserve) -Wl,-rpath,$(STAGE)/lib
	cargo build --release --locked -p forkserve-bench
	target/release/forkserve-bench run --rounds $(ROUNDS) $(ROWS)
	target/release/forkserve-bench report --img docs/img

python-costs: python ## Measure where the time of a connection goes in Python
	$(PY) rust/bench/python_costs.py

startup: stage need-perf ## Measure what linking the library adds to the start of a program
	$(ABI) ROUNDS=$(ROUNDS) startup

##@ Keep house

clean: ## Remove everything that was built
	cargo clean
	rm -rf build

# --- The parts that the targets above share ----------------------------------

archive: build
	tools/archive.sh

# The library as installed, for everything here that uses it from C.
stage: need-build
	@$(MAKE) install PREFIX=$(STAGE) DESTDIR= > /dev/null

# The examples, built like a user's programs: by what pkg-config says.
build-examples: stage need-examples
	$(EXAMPLES_C)

# What the end-to-end tests start.
test-servers: build-examples cli python need-test
	$(TESTS_C) servers
	cargo build --release --locked -p forkserve --examples

# What this machine lacks for a part of the work.
need-%:
	@tools/need $*

$(VENV)/.tools: python/requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || tools/need python
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r python/requirements-dev.txt
	touch $@

$(VENV)/.docs: python/requirements-docs.txt $(VENV)/.tools
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r python/requirements-docs.txt
	touch $@
