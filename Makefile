# Everything that a person does here is a target; `make` alone lists them.
# What a target needs and does not find, it installs: Debian packages with
# apt-get (as root, or with sudo), Python packages into build/venv.

MAKEFLAGS += --no-print-directory --no-builtin-rules
SHELL := /bin/bash -o pipefail
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
MAJOR := $(firstword $(subst ., ,$(VERSION)))

HOST ?= 127.0.0.1
PORT ?= 7000
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=
PYTHON ?= python3
CC ?= cc
# make deb: who answers for the packages.
MAINTAINER ?= $(or $(DEBFULLNAME),The forkserve authors) <$(or $(DEBEMAIL),forkserve@example.org)>
# make bench: beginnings of the rows to measure, all of them if empty; pairs a row.
ROWS ?=
ROUNDS ?= 15
# make fuzz: how long each, and which.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= address networks shared structs
# make soak: connections through each mode; the seed, the time if empty.
COUNT ?= 1000000
SEED ?=

BUILD := $(CURDIR)/build
STAGE := $(BUILD)/stage
SITE := $(BUILD)/site-source
MAN_PAGES := https://man7.org/linux/man-pages/man%S/%N.%S.html
VENV := $(BUILD)/venv
PY := $(VENV)/bin/python
DEB := $(BUILD)/deb
DEB_TREE := $(DEB)/forkserve-$(VERSION)
STAGE_ENV := PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig
# What the static library needs. The unwinder is that of libgcc_eh, as in the shared
# library: there is no other one for cc -static.
STATIC_LIBS := -lgcc_eh -lutil -lrt -lpthread -lm -ldl -lc

##@ Use it

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: stage ## Start the echo server: make run HOST=127.0.0.1 PORT=7000
	@$(STAGE_ENV) $(MAKE) -C c-examples OUT=$(BUILD)/examples CC=$(CC) $(BUILD)/examples/echo
	@echo "Echo server. Talk to it from another terminal:  nc $(HOST) $(PORT)"
	@echo "Ctrl-C lets the connections finish and stops it."
	@exec $(BUILD)/examples/echo $(HOST) $(PORT)

.PHONY: build
build: ## Build the Rust crate and the C library
	cargo build --release --locked -p forkserve -p forkserve-capi

.PHONY: man
man: ## Write the manual pages into build/man
	@cargo run --quiet --locked -p forkserve-xtask --no-default-features -- man $(BUILD)/man

.PHONY: install
install: archive man ## Install the C library: make install PREFIX=/usr/local DESTDIR=
	install -d $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(LIBDIR)/pkgconfig
	install -C -m 644 include/forkserve.h $(DESTDIR)$(INCLUDEDIR)/forkserve.h
	install -C -m 644 $(BUILD)/libforkserve.a $(DESTDIR)$(LIBDIR)/libforkserve.a
	install -C -m 755 target/release/libforkserve.so $(DESTDIR)$(LIBDIR)/libforkserve.so.$(VERSION)
	ln -sf libforkserve.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libforkserve.so.$(MAJOR)
	ln -sf libforkserve.so.$(MAJOR) $(DESTDIR)$(LIBDIR)/libforkserve.so
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|; s|@STATIC_LIBS@|$(STATIC_LIBS)|' \
	    rust/capi/forkserve.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/forkserve.pc
	for section in man3 man7; do \
	  install -d $(DESTDIR)$(MANDIR)/$$section && \
	  find $(BUILD)/man/$$section -type f -exec install -C -m 644 -t $(DESTDIR)$(MANDIR)/$$section {} + && \
	  find $(BUILD)/man/$$section -type l -exec cp -Pf -t $(DESTDIR)$(MANDIR)/$$section {} + || exit 1; \
	done

.PHONY: docs
docs: man python tools-docs $(VENV)/.docs ## Build the site: build/site/index.html
	rm -rf $(SITE) && mkdir -p $(SITE)/docs $(SITE)/include $(SITE)/man
	cp -R README.md CHANGELOG.md LICENSE c-examples $(SITE)
	cp -R docs/. $(SITE)/docs && rm -rf $(SITE)/docs/man
	cp include/forkserve.h $(SITE)/include
	find $(BUILD)/man -type f -exec cp -t $(SITE)/man {} +
	cd $(SITE)/man && for page in *.[37]; do \
	  mandoc -Thtml -O 'toc,man=%N.%S.html;$(MAN_PAGES)' $$page > $$page.html || exit 1; \
	done && rm *.[37]
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps -p forkserve --target-dir $(BUILD)/rustdoc
	cp -R $(BUILD)/rustdoc/doc $(SITE)/rust
	$(PY) -m pdoc --no-show-source -o $(SITE)/python forkserve
	$(PY) -m mkdocs build --clean -f docs/mkdocs.yml
	@echo "The site begins at $(BUILD)/site/index.html"

.PHONY: examples
examples: build-examples tools-test $(VENV)/.tools ## Build the C examples, and try each of them
	$(PY) -m pytest tests/e2e/test_example*.py

.PHONY: python
python: $(VENV)/.tools ## Build the Python module into build/venv
	cd python && VIRTUAL_ENV=$(VENV) $(VENV)/bin/maturin develop --release --locked --quiet

.PHONY: wheel
wheel: $(VENV)/.tools ## Build the Python wheel into build/wheels
	cd python && $(VENV)/bin/maturin build --release --locked --out $(BUILD)/wheels

.PHONY: deb
deb: tools-deb $(VENV)/.tools ## Build the Debian packages into build/deb
	rm -rf $(DEB)/*.deb $(DEB)/*.changes $(DEB)/*.buildinfo $(DEB_TREE)
	mkdir -p $(DEB_TREE)/debian/source $(DEB)/target
	tar -c --exclude=./target --exclude=./build --exclude=./.git . | tar -x -C $(DEB_TREE)
	ln -s $(DEB)/target $(DEB_TREE)/target
	cd rust/capi/debian && for file in $$(find . -type f); do \
	  sed -e 's|@VERSION@|$(VERSION)|; s|@MAJOR@|$(MAJOR)|; s|@MAINTAINER@|$(MAINTAINER)|' \
	    -e "s|@DATE@|$$(git log -1 --format=%cD 2> /dev/null || date -R)|" \
	    $$file > $(DEB_TREE)/debian/$${file/@MAJOR@/$(MAJOR)}; done
	chmod +x $(DEB_TREE)/debian/rules
	cd $(DEB_TREE) && VENV=$(VENV) dpkg-buildpackage --build=binary --no-sign --no-check-builddeps

##@ Check it

.PHONY: test
test: test-rust test-c test-python test-e2e ## Run every test: Rust, C, Python, end to end

.PHONY: test-rust
test-rust: ## Run the Rust tests
	cargo test --locked --workspace --exclude forkserve-python

.PHONY: test-c
test-c: build-examples ## Run the C tests against the staged library
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) check

.PHONY: test-python
test-python: python ## Run the Python tests, and the quick ones of CPython
	$(PY) -m pytest tests/python
	$(PY) -m pytest tests/cpython -m "not slow"

.PHONY: test-cpython
test-cpython: python ## Run all of CPython's tests of servers and fork: PYTHONS=path:path
	$(PY) -m pytest tests/cpython

.PHONY: test-pythons
test-pythons: $(VENV)/.tools ## Test one wheel on each CPython (on PATH, in PYTHONS=), and the sdist
	rm -rf $(BUILD)/pythons
	cd python && $(VENV)/bin/maturin build --release --locked --out $(BUILD)/pythons
	cd python && $(VENV)/bin/maturin sdist --out $(BUILD)/pythons
	$(PYTHON) -m venv $(BUILD)/pythons/tools
	$(BUILD)/pythons/tools/bin/pip install --quiet --disable-pip-version-check auditwheel
	$(BUILD)/pythons/tools/bin/auditwheel show $(BUILD)/pythons/*-cp39-abi3-manylinux_*.whl
	@set -e; for kind in with-gil free-threaded; do \
	  case $$kind in with-gil) package=*.whl;; *) package=*.tar.gz;; esac; \
	  for python in $$($(PYTHON) tests/python/pythons.py --$$kind); do \
	    $$python -VV; \
	    venv=$(BUILD)/pythons/$$kind-$$($$python -c 'import sys; print(*sys.version_info[:2], sep=".")'); \
	    $$python -m venv $$venv; \
	    $$venv/bin/pip install --quiet --disable-pip-version-check \
	      pytest pytest-timeout dnslib rpyc Werkzeug $(BUILD)/pythons/$$package; \
	    $$venv/bin/python -m pytest -p no:cacheprovider tests/python; \
	  done; \
	done
	$(BUILD)/pythons/tools/bin/pip install --quiet --disable-pip-version-check $(BUILD)/pythons/*.tar.gz
	$(BUILD)/pythons/tools/bin/python -I -m forkserve --version

.PHONY: test-e2e
test-e2e: build-examples python tools-test ## Run the end-to-end tests
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) servers
	cargo build --release --locked -p forkserve --examples
	$(PY) -m pytest tests/e2e

.PHONY: test-deb
test-deb: deb tools-test-deb ## Check the Debian packages, and install them into a clean root
	$(PY) -m pytest tests/packages

.PHONY: faults
faults: build-examples python tools-test ## Fail every system call in every way, and write docs/reliability.md
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) servers
	cargo build --release --locked -p forkserve --examples
	cd tests/e2e && $(PY) -m faults --write $(CURDIR)/docs/reliability.md

# The tests of the examples that start them; the others are about their sources.
CHECKED_EXAMPLES := $(addprefix tests/e2e/,test_examples.py test_example_http.py test_example_tls.py \
  test_example_users.py test_from_the_notes.py::test_each_of_them_echoes_and_knows_its_arguments) \
  --deselect tests/e2e/test_examples.py::test_what_needs_a_missing_library_is_left_out_and_named

.PHONY: test-asan
test-asan: build-examples tools-test $(VENV)/.tools ## Run the C and C++ tests and the examples with AddressSanitizer, UBSan
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) sanitize
	$(STAGE_ENV) $(MAKE) -C c-examples OUT=$(BUILD)/sanitized CC=$(CC) \
	  CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover'
	rm -rf $(BUILD)/asan && mkdir $(BUILD)/asan
	EXAMPLES=$(BUILD)/sanitized EXAMPLES_REPORTS=$(BUILD)/asan \
	  ASAN_OPTIONS=log_path=$(BUILD)/asan/asan UBSAN_OPTIONS=log_path=$(BUILD)/asan/ubsan \
	  $(PY) -m pytest $(CHECKED_EXAMPLES)

VALGRIND := env LD_PRELOAD=$(BUILD)/tests/libold_calls.so valgrind --quiet --leak-check=full \
  --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=98 \
  --log-file=$(BUILD)/valgrind/%p

.PHONY: test-valgrind
test-valgrind: build-examples tools-test tools-valgrind $(VENV)/.tools ## Run the C and C++ tests and the examples under valgrind
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) valgrind
	rm -rf $(BUILD)/valgrind && mkdir $(BUILD)/valgrind
	EXAMPLES_CHECKER='$(VALGRIND)' EXAMPLES_REPORTS=$(BUILD)/valgrind $(PY) -m pytest $(CHECKED_EXAMPLES) -k 'not outside_of_the_folder'

.PHONY: test-kernel
test-kernel: stage tools-kernel ## Run the C tests on another kernel, emulated: make test-kernel KERNEL=vmlinuz
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) KERNEL=$(abspath $(KERNEL)) boot

.PHONY: stress
stress: build-examples python tools-test ## Serve 50,000 connections of a host with busy threads, and a crowd of 10,000
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) servers
	cargo build --release --locked -p forkserve --examples
	ulimit -n 20000 && STRESS_CONNECTIONS=50000 STRESS_CROWD=10000 $(PY) -m pytest --timeout 3600 \
	  tests/e2e -k 'busy_threads or crowd_from_one_address'

.PHONY: miri
miri: ## Run the Rust tests that make no process in Miri (nightly Rust)
	rustup component add miri rust-src --toolchain nightly || { echo 'make miri needs nightly Rust:' \
	  'rustup toolchain install nightly --component miri --component rust-src' >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation CARGO_TARGET_DIR=$(BUILD)/miri \
	  cargo +nightly miri test --locked -p forkserve --lib

.PHONY: fuzz
fuzz: ## Fuzz all that reads outside input: make fuzz FUZZ_SECONDS=60 (nightly Rust, C++)
	command -v cargo-fuzz > /dev/null || test -x $(BUILD)/tools/bin/cargo-fuzz || \
	  cargo install --quiet --locked --root $(BUILD)/tools cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
	  mkdir -p $(BUILD)/fuzz/$$target && \
	  PATH=$$PATH:$(BUILD)/tools/bin cargo +nightly fuzz run --fuzz-dir rust/fuzz \
	    --target-dir $(BUILD)/fuzz/build $$target $(BUILD)/fuzz/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(BUILD)/fuzz/$$target- || exit 1; done

.PHONY: soak
soak: examples tools-test ## Run a million connections through each mode: make soak COUNT=1000000 SEED=
	$(STAGE_ENV) $(MAKE) -C tests/c OUT=$(BUILD)/tests CC=$(CC) STAGE=$(STAGE) servers
	cargo build --release --locked -p forkserve-bench
	target/release/forkserve-bench soak --count $(COUNT) $(if $(SEED),--seed $(SEED)) \
	  --write docs/reliability.md

.PHONY: lint
lint: header-check abi-check man-check unsafe-check tools-lint $(VENV)/.tools ## Check format, lints, header, ABI, manual and types
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	git ls-files '*.c' '*.cc' | xargs clang-format --dry-run --Werror
	$(VENV)/bin/ruff check python tests
	$(VENV)/bin/ruff format --check python tests
	$(MAKE) python
	cd python && $(VENV)/bin/mypy --strict forkserve
	cd python && $(VENV)/bin/basedpyright --pythonpath $(PY)
	cd $(BUILD) && PATH=$(VENV)/bin:$$PATH basedpyright --verifytypes forkserve --ignoreexternal | tail -n 4
	$(PY) -m mypy.stubtest forkserve --ignore-missing-stub
	$(MAKE) docs

# Unsafe code is denied everywhere, and so is unsafe code without a SAFETY note
# (Cargo.toml). These files may allow themselves the first, none the second; the
# core has all of it in one folder.
UNSAFE_FILES := \
  python/src/fork.rs python/src/hooks.rs \
  $(addprefix rust/capi/src/,conn.rs error.rs guard.rs handle.rs heap.rs io.rs live.rs options.rs server.rs watch.rs) \
  rust/core/examples/testserver.rs \
  rust/core/src/sys/mod.rs \
  rust/fuzz/fuzz_targets/structs.rs \
  tests/rust/api.rs

.PHONY: unsafe-check
unsafe-check: ## Fail if unsafe code is allowed where it is not meant to be
	@git grep -l unsafe_code -- '*.rs' | diff <(printf '%s\n' $(UNSAFE_FILES)) - || \
	  { echo 'files that allow unsafe code (>) are not those of UNSAFE_FILES in the Makefile (<)' >&2; exit 1; }
	@! git grep -nE 'undocumented_unsafe_blocks|multiple_unsafe_ops_per_block|unsafe_op_in_unsafe_fn' \
	  -- '*.rs' rust/{bench,capi,core,xtask}/Cargo.toml python/Cargo.toml
	@! git grep -LE '^workspace = true|^unsafe_code = "(forbid|deny)"' -- 'rust/*/Cargo.toml' python/Cargo.toml | \
	  grep . || { echo 'these take no part in the lints of the workspace' >&2; exit 1; }

.PHONY: fmt
fmt: tools-lint $(VENV)/.tools ## Format all sources
	cargo fmt --all
	git ls-files '*.c' '*.cc' | xargs clang-format -i
	$(VENV)/bin/ruff format python tests

.PHONY: header
header: ## Write include/forkserve.h from the C crate
	cargo run --quiet --locked -p forkserve-xtask -- header

.PHONY: header-check
header-check: ## Fail if include/forkserve.h has drifted
	cargo run --quiet --locked -p forkserve-xtask -- header --check

.PHONY: abi
abi: tools-abi ## Take the present ABI for that of the last release: at a release
	$(MAKE) -C tests/abi OUT=$(BUILD)/tests/abi CC=$(CC) dump

.PHONY: abi-check
abi-check: tools-abi ## Fail if the ABI breaks programs of the last release
	$(MAKE) -C tests/abi OUT=$(BUILD)/tests/abi CC=$(CC) diff

.PHONY: man-check
man-check: man tools-lint ## Fail if a manual page is malformed
	find $(BUILD)/man -type f | xargs mandoc -Tlint -Wwarning

.PHONY: bench
bench: stage python tools-bench ## Measure against the rivals, and write docs/benchmarks.md
	mkdir -p $(BUILD)/bench
	$(CC) -O2 -Wall -Wextra -o $(BUILD)/bench/forkserve_echo \
	  rust/bench/bare/forkserve_echo.c $$($(STAGE_ENV) pkg-config --cflags --libs forkserve) \
	  -Wl,-rpath,$(STAGE)/lib
	cargo build --release --locked -p forkserve-bench
	target/release/forkserve-bench run --rounds $(ROUNDS) $(ROWS)
	target/release/forkserve-bench report --img docs/img

.PHONY: python-costs
python-costs: python ## Measure where the time of a connection goes in Python
	$(PY) rust/bench/python_costs.py

.PHONY: startup
startup: stage tools-perf ## Measure what linking the library adds to the start of a program
	$(MAKE) -C tests/abi OUT=$(BUILD)/tests/abi CC=$(CC) ROUNDS=$(ROUNDS) \
	  PKG_CONFIG_PATH=$(STAGE)/lib/pkgconfig startup

##@ Keep house

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
	rm -rf build

# --- The parts that the targets above share ----------------------------------

# The static library: of what cargo makes, which has all of Rust's standard library
# in it, the parts that are needed, as one object whose only names are those of the
# shared library. A program can have several libraries with parts in Rust.
.PHONY: archive
archive: build
	mkdir -p $(BUILD)/archive
	objcopy --remove-section=.llvmbc --remove-section=.llvmcmd \
	  target/release/libforkserve.a $(BUILD)/archive/whole.a
	nm -D --defined-only --format=posix target/release/libforkserve.so | cut -d' ' -f1 \
	  > $(BUILD)/archive/names
	$(LD) -r --gc-sections $$(sed 's/^/-u /' $(BUILD)/archive/names) \
	  -o $(BUILD)/archive/needed.o $(BUILD)/archive/whole.a
	objcopy --strip-debug --keep-global-symbols=$(BUILD)/archive/names \
	  $(BUILD)/archive/needed.o $(BUILD)/archive/forkserve.o
	rm -f $(BUILD)/libforkserve.a
	ar rcsD $(BUILD)/libforkserve.a $(BUILD)/archive/forkserve.o

# The library as installed, for everything here that uses it from C.
.PHONY: stage
stage: tools-build
	@$(MAKE) install PREFIX=$(STAGE) DESTDIR= > /dev/null

# The examples, built like a user's programs: by what pkg-config says.
.PHONY: build-examples
build-examples: stage tools-examples
	$(STAGE_ENV) $(MAKE) -C c-examples OUT=$(BUILD)/examples CC=$(CC)

# $(call install,Debian packages,what they are needed for)
install = { echo "installing $(1) for $(2)"; \
  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
  $$sudo apt-get update -qq > /dev/null && \
  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -qq -y --no-install-recommends $(1) > /dev/null || \
  { echo "please install: $(1)" >&2; exit 1; }; }

# $(call tools,commands,Debian packages): installs the packages if a command is missing.
tools = @for tool in $(1); do \
  command -v $$tool > /dev/null || { $(call install,$(2),$$tool) && break; }; done

# $(call libraries,names for pkg-config,Debian packages): the same for libraries.
libraries = @for library in $(1); do \
  pkg-config --exists $$library || { $(call install,$(2),$$library) && break; }; done

.PHONY: tools-build tools-examples tools-test tools-lint tools-abi tools-bench tools-docs
.PHONY: tools-deb tools-test-deb tools-kernel tools-perf tools-valgrind
tools-build:
	$(call tools,pkg-config,pkg-config)

tools-examples: tools-build
	$(call libraries,openssl libuv glib-2.0,libssl-dev libuv1-dev libglib2.0-dev)
	$(call tools,cmake meson ninja,cmake meson ninja-build)

tools-test:
	$(call tools,strace prlimit lsof curl openssl nc,strace util-linux lsof curl openssl netcat-openbsd)

tools-deb:
	$(call tools,dpkg-buildpackage dh dh_python3,dpkg-dev debhelper dh-python)

tools-test-deb:
	$(call tools,lintian debootstrap,lintian debootstrap)

tools-lint:
	$(call tools,clang-format mandoc,clang-format mandoc)

tools-abi:
	$(call tools,abidw abidiff,abigail-tools)

tools-kernel:
	$(call tools,qemu-system-$(shell uname -m) busybox cpio,\
	  qemu-system-x86 qemu-system-arm busybox-static cpio)

tools-valgrind:
	$(call tools,valgrind,valgrind)

tools-bench:
	$(call tools,tcpserver tcpsvd xinetd socat,ucspi-tcp ipsvd xinetd socat libnet-server-perl)

tools-docs:
	$(call tools,mandoc,mandoc)

tools-perf:
	$(call tools,perf,linux-perf)

$(VENV)/.tools: python/requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || $(call install,python3-venv,a virtual environment)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r python/requirements-dev.txt
	touch $@

$(VENV)/.docs: python/requirements-docs.txt $(VENV)/.tools
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r python/requirements-docs.txt
	touch $@
