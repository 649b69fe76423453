//! What the Makefile does in Rust.
//!
//! - `header [--check]` writes include/forkserve.h from the C crate, or says
//!   whether the committed file is what it would write;
//! - `man DIRECTORY` writes the manual pages there;
//! - `tables [--check]` writes what is made from the tables of the core, or says
//!   whether the committed files are what it would write.

#[cfg(feature = "header")]
mod header;
mod items;
mod man;
mod mdoc;
#[cfg(feature = "header")]
mod tables;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let result = match arguments[..] {
        #[cfg(feature = "header")]
        ["header"] => header::header(&root, false),
        #[cfg(feature = "header")]
        ["header", "--check"] => header::header(&root, true),
        #[cfg(feature = "header")]
        ["tables"] => tables::tables(&root, false),
        #[cfg(feature = "header")]
        ["tables", "--check"] => tables::tables(&root, true),
        ["man", directory] => man::man(&root, Path::new(directory)),
        _ => {
            eprintln!("Usage: forkserve-xtask header [--check] | man DIRECTORY | tables [--check]");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forkserve-xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
