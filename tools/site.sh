#!/bin/sh
# Builds the site: build/site/index.html. The pages of docs, the manual as HTML, and
# the references of Rust and Python.
set -eu

: "${BUILD:?}" "${PY:?}"
site=$BUILD/site-source
man_pages='https://man7.org/linux/man-pages/man%S/%N.%S.html'

rm -rf "$site"
mkdir -p "$site/docs" "$site/include" "$site/man"
cp -R README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE-MIT LICENSE-APACHE c-examples "$site"
mkdir "$site/tests"
cp tests/README.md "$site/tests"
cp -R docs/. "$site/docs"
rm -rf "$site/docs/man"
cp include/forkserve.h "$site/include"
find "$BUILD/man" -type f -exec cp -t "$site/man" {} +
for page in "$site"/man/*.[137]; do
    (cd "$site/man" && mandoc -Thtml -O "toc,man=%N.%S.html;$man_pages" "$page" > "$page.html")
    rm "$page"
done
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps -p forkserve --target-dir "$BUILD/rustdoc"
cp -R "$BUILD/rustdoc/doc" "$site/rust"
"$PY" -m pdoc --no-show-source -o "$site/python/reference" forkserve
cp python/README.md "$site/python"
NO_MKDOCS_2_WARNING=1 "$PY" -m mkdocs build --clean -f docs/mkdocs.yml
echo "The site begins at $BUILD/site/index.html"
