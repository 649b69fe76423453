//! include/forkserve.h: the comments and declarations of the C crate, in the
//! order and between the chapters of `rust/capi/header/forkserve.h.in`.
//!
//! cbindgen is a dependency, not a tool to install: its version is in Cargo.lock,
//! so every machine makes the same header.

use crate::items::{items, Item};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const HEADER: &str = "include/forkserve.h";
const TEMPLATE: &str = "rust/capi/header/forkserve.h.in";

type Failure = Box<dyn std::error::Error>;

/// Writes the header, or says whether the committed one is what it would write.
pub(crate) fn header(root: &Path, check: bool) -> Result<(), Failure> {
    let capi = root.join("rust/capi");
    let config = cbindgen::Config::from_file(capi.join("cbindgen.toml"))?;
    let mut raw = Vec::new();
    cbindgen::generate_with_config(&capi, config)?.write(&mut raw);
    let items = items(&String::from_utf8(raw)?);
    items.iter().try_for_each(complete)?;
    let text = fill(&fs::read_to_string(root.join(TEMPLATE))?, &items)?;
    let path = root.join(HEADER);
    if !check {
        fs::write(path, text)?;
    } else if fs::read(path).ok().as_deref() != Some(text.as_bytes()) {
        return Err(format!("{HEADER} has drifted from rust/capi; run: make header").into());
    }
    Ok(())
}

/// The template with its items in their places: `@name@` is one, `@PREFIX_*@`
/// all constants whose names begin so. Each item has one place. The values of the
/// `_INIT` macros come from the tables of the core.
fn fill(template: &str, items: &[Item]) -> Result<String, Failure> {
    let mut placed = BTreeSet::new();
    let mut text = String::new();
    for line in template.lines() {
        let Some(name) = line.strip_prefix('@').and_then(|line| line.strip_suffix('@')) else {
            text += &versions(line);
            text.push('\n');
            continue;
        };
        let wanted = |item: &&Item| match name.strip_suffix('*') {
            Some(prefix) => item.name.starts_with(prefix),
            None => item.name == name,
        };
        if let Some(init) = crate::tables::init(name) {
            text += &init;
            continue;
        }
        let found: Vec<&Item> = items.iter().filter(wanted).collect();
        if found.is_empty() {
            return Err(format!("{TEMPLATE}: rust/capi has no {name}").into());
        }
        for (index, item) in found.iter().enumerate() {
            if !placed.insert(item.name.clone()) {
                return Err(format!("{TEMPLATE}: {} stands there twice", item.name).into());
            }
            if index > 0 {
                text.push('\n');
            }
            text += &shown(item);
        }
    }
    match items.iter().find(|item| !placed.contains(&item.name)) {
        Some(item) => Err(format!("{TEMPLATE} has no place for it: @{}@", item.name).into()),
        None => Ok(text),
    }
}

fn versions(line: &str) -> String {
    line.replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
        .replace("@MINOR@", env!("CARGO_PKG_VERSION_MINOR"))
        .replace("@PATCH@", env!("CARGO_PKG_VERSION_PATCH"))
}

/// The item with comments in one style, those within it too.
fn shown(item: &Item) -> String {
    let mut text = comment(&item.comment, "");
    let mut lines = item.declaration.iter();
    while let Some(line) = lines.next() {
        if line.trim_start() != "/*" {
            text += line;
            text.push('\n');
            continue;
        }
        let indent = &line[..line.len() - 2];
        let inside = lines.by_ref().take_while(|line| !line.trim_start().starts_with("*/"));
        let inside: Vec<String> = inside.map(|line| line.trim().to_owned()).collect();
        text += &comment(&inside, indent);
    }
    text
}

fn comment(lines: &[String], indent: &str) -> String {
    match lines {
        [] => String::new(),
        [only] if indent.len() + only.len() + 6 <= 80 => format!("{indent}/* {only} */\n"),
        lines => {
            let mut text = format!("{indent}/*\n");
            for line in lines {
                text += format!("{indent} * {line}").trim_end();
                text.push('\n');
            }
            text + indent + " */\n"
        }
    }
}

/// What the manual promises of every function, its comment has.
fn complete(item: &Item) -> Result<(), Failure> {
    let prototype = item.declaration.join(" ");
    let mut labels = vec![];
    if item.is_function() {
        labels.extend(["Context:", "Since:"]);
        let result = prototype.split(&item.name).next().unwrap_or_default();
        if ["int ", "int64_t ", "ssize_t "].contains(&result) {
            labels.push("Errors:");
        }
        if result.contains('*') || prototype.contains("**") {
            labels.push("Ownership:");
        }
    }
    if item.comment.is_empty() {
        return Err(format!("{}: has no comment", item.name).into());
    }
    let has = |label: &&str| item.comment.iter().any(|line| line.starts_with(label));
    match labels.iter().find(|label| !has(label)) {
        Some(label) => Err(format!("{}: its comment lacks \"{label}\"", item.name).into()),
        None => Ok(()),
    }
}
