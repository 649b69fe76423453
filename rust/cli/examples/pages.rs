//! Writes the manual pages and the shell completions of the command.
//!
//! Usage: pages MANUAL-FOLDER COMPLETIONS-FOLDER

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use std::error::Error;
use std::fs;
use std::path::Path;

/// Of the last change of the pages.
const DATE: &str = "2026-11-28";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [manual, completions] = &arguments[..] else {
        return Err("Usage: pages MANUAL-FOLDER COMPLETIONS-FOLDER".into());
    };
    write_manual(&Path::new(manual).join("man1"))?;
    write_completions(Path::new(completions))
}

/// forkserve(1), and a page for each subcommand.
fn write_manual(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut command = forkserve_cli::command().disable_help_subcommand(true);
    // Gives the subcommands their whole names.
    command.build();
    write_page(&command, "forkserve", folder)?;
    for subcommand in command.get_subcommands() {
        write_page(subcommand, &format!("forkserve-{}", subcommand.get_name()), folder)?;
    }
    Ok(())
}

fn write_page(command: &Command, name: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let page = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(DATE)
        .source(concat!("forkserve ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render(&mut text)?;
    // How clap_mangen parts the values of a flag from its text; mandoc warns of it.
    let text = String::from_utf8(text)?.replace(".br\n\n.br\n", ".sp\n");
    fs::write(folder.join(format!("{name}.1")), text)?;
    Ok(())
}

/// Each under the name by which its shell looks for it.
fn write_completions(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut forkserve_cli::command(), "forkserve", folder)?;
    }
    Ok(())
}
