//! The command `forkserve`.

use std::process::ExitCode;

fn main() -> ExitCode {
    forkserve_cli::main()
}
