#!/bin/sh
# Makes the Debian packages in build/deb. They are built in a copy of the tree, with
# the files of rust/capi/debian filled in.
set -eu

: "${VERSION:?}" "${BUILD:?}" "${MAINTAINER:?}" "${VENV:?}"
major=${VERSION%%.*}
deb=$BUILD/deb
tree=$deb/forkserve-$VERSION
date=$(git log -1 --format=%cD 2> /dev/null || date -R)

rm -rf "$deb"/*.deb "$deb"/*.changes "$deb"/*.buildinfo "$tree"
mkdir -p "$tree/debian/source" "$deb/target"
tar -c --exclude=./target --exclude=./build --exclude=./.git . | tar -x -C "$tree"
ln -s "$deb/target" "$tree/target"
(cd rust/capi/debian && find . -type f) | while read -r file; do
    sed -e "s|@VERSION@|$VERSION|; s|@MAJOR@|$major|; s|@MAINTAINER@|$MAINTAINER|; s|@DATE@|$date|" \
        "rust/capi/debian/$file" > "$tree/debian/$(echo "$file" | sed "s|@MAJOR@|$major|")"
done
chmod +x "$tree/debian/rules"
cd "$tree"
dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
