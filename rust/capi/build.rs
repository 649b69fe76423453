//! Links the shared library so that a fork of a process that has it loaded is
//! cheap: each mapping of the process costs every fork a microsecond.
//!
//! Also gives it its SONAME: the major version is the promise of binary
//! compatibility.

#![allow(clippy::print_stdout)] // this is how a build script speaks to cargo

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let link = |arg: &str| println!("cargo:rustc-cdylib-link-arg={arg}");
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    link(&format!("-Wl,-soname,libforkserve.so.{major}"));

    // Read-only data beside the code: one mapping instead of two. GNU ld, since
    // the linkers that rustc may choose by itself have other options for it.
    link("-fuse-ld=bfd");
    link("-Wl,-z,noseparate-code");

    // What runs in a child in one place: see the script.
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../core/child.ld");
    link(&format!("-Wl,-T,{}", script.display()));
    println!("cargo:rerun-if-changed={}", script.display());

    // The unwinder linked in, instead of a libgcc_s.so with five mappings of its
    // own: std asks for that library by name, and finds this script first. No
    // exception comes through the frames of this library: what would (pthread_cancel, an
    // exception of C++) ends the process with either. It has atomic operations of
    // libgcc.a in it, on aarch64.
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
    link(&format!("-L{}", out.display()));

    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
