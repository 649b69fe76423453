//! Links the module so that a fork of an interpreter that has it loaded is
//! cheap: its read-only data beside the code is one mapping less. See
//! rust/capi/build.rs.
//!
//! The unwinder stays a library of its own here. When the interpreter ends, it
//! ends threads by unwinding them, through frames of this module too, and two
//! copies of the unwinder do not understand each other.

#![allow(clippy::print_stdout)] // this is how a build script speaks to cargo

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A linker that was chosen (zig, for old systems) may know none of this.
    if std::env::var_os("RUSTC_LINKER").is_none() {
        println!("cargo:rustc-cdylib-link-arg=-fuse-ld=bfd");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,noseparate-code");
        // What runs in a child in one place: see the script.
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../rust/core/child.ld");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-T,{script}");
        println!("cargo:rerun-if-changed={script}");
    }
}
