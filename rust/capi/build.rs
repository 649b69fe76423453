//! Gives the shared library its SONAME: the major version is the promise of
//! binary compatibility.

#![allow(clippy::print_stdout)] // this is how a build script speaks to cargo

fn main() {
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libforkserve.so.{major}");
    println!("cargo:rerun-if-changed=build.rs");
}
