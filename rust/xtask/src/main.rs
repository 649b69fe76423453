//! `cargo run -p forkserve-xtask -- header [--check]`: writes include/forkserve.h
//! from the C crate, or says whether the committed file is what it would write.
//!
//! cbindgen is a dependency, not a tool to install: its version is in Cargo.lock,
//! so every machine makes the same header.

use std::path::Path;
use std::process::ExitCode;

const HEADER: &str = "include/forkserve.h";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let check = match arguments[..] {
        ["header"] => false,
        ["header", "--check"] => true,
        _ => {
            eprintln!("Usage: forkserve-xtask header [--check]");
            return ExitCode::from(2);
        }
    };
    match header(check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forkserve-xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn header(check: bool) -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let capi = root.join("rust/capi");
    let mut config = cbindgen::Config::from_file(capi.join("cbindgen.toml"))?;
    config.after_includes = Some(std::fs::read_to_string(capi.join("header/top.h"))?);
    config.trailer = Some(std::fs::read_to_string(capi.join("header/bottom.h"))?);
    let bindings = cbindgen::generate_with_config(&capi, config)?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    let path = root.join(HEADER);
    if !check {
        std::fs::write(path, text)?;
    } else if std::fs::read(path).ok().as_deref() != Some(&text[..]) {
        return Err(format!("{HEADER} has drifted from rust/capi; run: make header").into());
    }
    Ok(())
}
