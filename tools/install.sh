#!/bin/sh
# Installs the library with header and pkg-config file, the command with completions, and
# the manual: `make install` says where.
set -eu

: "${VERSION:?}" "${BUILD:?}" "${PREFIX:?}" "${BINDIR:?}" "${LIBDIR:?}" "${INCLUDEDIR:?}" "${MANDIR:?}" "${DESTDIR=}"
major=${VERSION%%.*}
# What the static library needs. The unwinder is that of libgcc_eh, as in the shared
# library: there is no other one for cc -static.
static_libs='-lgcc_eh -lutil -lrt -lpthread -lm -ldl -lc'

lib=$DESTDIR$LIBDIR
install -d "$DESTDIR$INCLUDEDIR" "$lib/pkgconfig"
install -C -m 644 include/forkserve.h "$DESTDIR$INCLUDEDIR/forkserve.h"
install -C -m 644 "$BUILD/libforkserve.a" "$lib/libforkserve.a"
install -C -m 755 target/release/libforkserve.so "$lib/libforkserve.so.$VERSION"
ln -sf "libforkserve.so.$VERSION" "$lib/libforkserve.so.$major"
ln -sf "libforkserve.so.$major" "$lib/libforkserve.so"
sed -e "s|@PREFIX@|$PREFIX|; s|@LIBDIR@|$LIBDIR|; s|@INCLUDEDIR@|$INCLUDEDIR|" \
    -e "s|@VERSION@|$VERSION|; s|@STATIC_LIBS@|$static_libs|" \
    rust/capi/forkserve.pc.in > "$lib/pkgconfig/forkserve.pc"
install -d "$DESTDIR$BINDIR"
install -C -m 755 target/release/forkserve "$DESTDIR$BINDIR/forkserve"
# The names of other programs, apart from theirs.
names=$DESTDIR$PREFIX/lib/forkserve/bin
install -d "$names"
for name in tcpserver tcpsvd; do
    ln -srf "$DESTDIR$BINDIR/forkserve" "$names/$name"
done
share=$DESTDIR$PREFIX/share
install -D -C -m 644 "$BUILD/completions/forkserve.bash" "$share/bash-completion/completions/forkserve"
install -D -C -m 644 "$BUILD/completions/_forkserve" "$share/zsh/site-functions/_forkserve"
install -D -C -m 644 "$BUILD/completions/forkserve.fish" "$share/fish/vendor_completions.d/forkserve.fish"
for section in man1 man3 man7; do
    install -d "$DESTDIR$MANDIR/$section"
    find "$BUILD/man/$section" -type f -exec install -C -m 644 -t "$DESTDIR$MANDIR/$section" {} +
    find "$BUILD/man/$section" -type l -exec cp -Pf -t "$DESTDIR$MANDIR/$section" {} +
done
