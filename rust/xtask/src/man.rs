//! The manual pages: what `docs/man` says, and the comments of the header.
//!
//! `docs/man/NAME.SECTION.md` is a page. Its first line is the name and what it
//! is in a few words; lines `date:` and `items:` follow. Items are names in the
//! header, whose comments and declarations the page shows; those of a group of
//! constants are written `PREFIX_*`. Each of the header's is on one page.

use crate::items::{fields, items, Item};
use crate::mdoc::Mdoc;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

type Failure = Box<dyn std::error::Error>;

struct Page {
    name: String,
    section: String,
    about: String,
    date: String,
    items: Vec<Item>,
    prose: String,
}

/// Writes the pages into `directory`/man3 and man7, as they are installed.
pub(crate) fn man(root: &Path, directory: &Path) -> Result<(), Failure> {
    let header = items(&fs::read_to_string(root.join("include/forkserve.h"))?);
    let mut pages = Vec::new();
    for entry in fs::read_dir(root.join("docs/man"))? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let page = read(&stem, &fs::read_to_string(&path)?, &header);
        pages.push(page.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    pages.sort_by(|a, b| (&a.section, &a.name).cmp(&(&b.section, &b.name)));
    let mut owners = BTreeMap::new();
    for page in &pages {
        for item in &page.items {
            if owners.insert(item.name.as_str(), page).is_some() {
                return Err(format!("docs/man: {} is on two pages", item.name).into());
            }
        }
    }
    // Macros that go with a struct, the version and the guard of the header.
    let is_minor = |name: &str| {
        name.ends_with("_INIT") || name.starts_with("FORKSERVE_VERSION") || name == "FORKSERVE_H"
    };
    let missing = |item: &&Item| !owners.contains_key(&item.name[..]) && !is_minor(&item.name);
    if let Some(item) = header.iter().find(missing) {
        return Err(format!("docs/man: {} is on no page", item.name).into());
    }
    // Pages of a name that is none any more go, too.
    for section in ["3", "7"] {
        let _ = fs::remove_dir_all(directory.join(format!("man{section}")));
        fs::create_dir_all(directory.join(format!("man{section}")))?;
    }
    let file = |name: &str, section: &str| directory.join(format!("man{section}/{name}.{section}"));
    for page in &pages {
        fs::write(file(&page.name, &page.section), shown(page, &pages))?;
    }
    let is_link = |name: &str, page: &Page| name != page.name && !name.starts_with("FORKSERVE_");
    for (name, page) in owners.iter().filter(|(name, page)| is_link(name, page)) {
        symlink(format!("{}.{}", page.name, page.section), file(name, &page.section))?;
    }
    Ok(())
}

fn read(stem: &str, text: &str, header: &[Item]) -> Result<Page, Failure> {
    let (name, section) = stem.split_once('.').ok_or("no section in the name")?;
    let mut lines = text.lines();
    let title = lines.next().and_then(|line| line.strip_prefix("# "));
    let (titled, about) = title.and_then(|title| title.split_once(": ")).ok_or("no title")?;
    if titled != name {
        return Err(format!("the title names {titled}").into());
    }
    let (mut date, mut items) = (String::new(), Vec::new());
    for line in lines.by_ref().skip_while(|line| line.is_empty()).take_while(|l| !l.is_empty()) {
        if let Some(text) = line.strip_prefix("date: ") {
            date = text.to_owned();
        } else if let Some(names) = line.strip_prefix("items: ") {
            for name in names.split_whitespace() {
                let wanted = |item: &&Item| match name.strip_suffix('*') {
                    Some(prefix) => item.name.starts_with(prefix),
                    None => item.name == name,
                };
                let before = items.len();
                items.extend(header.iter().filter(wanted).cloned());
                if items.len() == before {
                    return Err(format!("the header has no {name}").into());
                }
            }
        } else {
            return Err(format!("neither date nor items: {line}").into());
        }
    }
    if date.is_empty() {
        return Err("no date".into());
    }
    let prose = lines.collect::<Vec<_>>().join("\n");
    let (name, about) = (name.to_owned(), about.to_owned());
    Ok(Page { name, section: section.to_owned(), about, date, items, prose })
}

fn shown(page: &Page, pages: &[Page]) -> String {
    let mut out = Mdoc::default();
    out.call(&format!(".Dd {}", page.date));
    out.call(&format!(".Dt {} {}", page.name.to_uppercase(), page.section));
    out.call(concat!(".Os forkserve ", env!("CARGO_PKG_VERSION")));
    out.call(".Sh NAME");
    let mut names = vec![page.name.as_str()];
    let others = page.items.iter().filter(|item| !item.is_constant() && item.name != page.name);
    names.extend(others.map(|item| item.name.as_str()));
    for (index, name) in names.iter().enumerate() {
        let comma = if index + 1 < names.len() { " ," } else { "" };
        out.call(&format!(".Nm {name}{comma}"));
    }
    out.call(&format!(".Nd {}", page.about));
    if !page.items.is_empty() {
        out.call(".Sh SYNOPSIS");
        out.call(".In forkserve.h");
        for item in &page.items {
            synopsis(&mut out, item);
        }
        out.call(".Pp");
        out.say("Compile and link with the flags of");
        out.call(".Ql pkg\\-config \\-\\-cflags \\-\\-libs forkserve .");
    }
    out.call(".Sh DESCRIPTION");
    let (before, after) = match page.prose.find("\n## ") {
        Some(at) => page.prose.split_at(at),
        None => (page.prose.as_str(), ""),
    };
    out.markdown(before);
    page.items.iter().for_each(|item| describe(&mut out, item));
    let functions: Vec<&Item> = page.items.iter().filter(|item| item.is_function()).collect();
    out.markdown(after);
    errors(&mut out, &functions);
    see_also(&mut out, page, pages);
    history(&mut out, &functions);
    out.finish()
}

fn synopsis(out: &mut Mdoc, item: &Item) {
    let declaration = item.declaration.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let function = match declaration.split_once("(*") {
        Some((result, rest)) if item.declaration[0].starts_with("typedef") => {
            rest.split_once(")(").map(|(name, rest)| (result, format!("(*{name})"), rest))
        }
        _ if item.is_function() => declaration.split_once('(').and_then(|(head, rest)| {
            let result = head.strip_suffix(&item.name)?;
            Some((result, item.name.clone(), rest))
        }),
        _ => None,
    };
    let Some((result, name, rest)) = function else { return };
    out.call_with(".Ft", result.trim());
    out.call_with(".Fo", &name);
    for argument in rest.trim_end_matches(");").split(", ") {
        out.call_with(".Fa", argument);
    }
    out.call(".Fc");
}

fn describe(out: &mut Mdoc, item: &Item) {
    if item.is_constant() {
        let words: Vec<&str> = item.declaration[0].split_whitespace().collect();
        out.call(".Bl -tag -width Ds -compact");
        out.call(&format!(
            ".It Dv {} No ({})",
            item.name,
            words[2..].join(" ").replace('-', "\\-")
        ));
        out.say(&item.comment.join(" "));
        out.call(".El");
        return;
    }
    out.call(&format!(".Ss {}", item.name));
    // Sections of a comment with a label of their own, and what comes before.
    let (mut body, mut labels) = (Vec::new(), Vec::<(String, String)>::new());
    for line in &item.comment {
        match line.split_once(':') {
            Some((label, rest)) if ["Ownership", "Context", "Errors", "Since"].contains(&label) => {
                labels.push((label.to_owned(), rest.trim().to_owned()));
            }
            _ => match labels.last_mut() {
                Some((_, text)) => *text = format!("{text} {}", line.trim()),
                None => body.push(line.clone()),
            },
        }
    }
    paragraphs(out, &body);
    let fields = fields(item);
    if !fields.is_empty() {
        out.say(" ");
        out.call(".Bl -tag -width Ds");
        for (declaration, comment) in fields {
            out.call_with(".It Vt", &declaration);
            out.say(&comment);
        }
        out.call(".El");
    }
    labels.retain(|(label, _)| label == "Ownership" || label == "Context");
    if !labels.is_empty() {
        out.call(".Bl -tag -width Ownership");
        for (label, text) in labels {
            out.call(&format!(".It {label}"));
            out.say(&text);
        }
        out.call(".El");
    }
}

/// Lines that are indented stay as they are.
fn paragraphs(out: &mut Mdoc, lines: &[String]) {
    let mut rest = lines;
    let mut fresh = true;
    while let Some(first) = rest.first() {
        let indented = first.starts_with("  ");
        let blank = first.is_empty();
        let end = rest.iter().position(|line| {
            line.is_empty() != blank || (!blank && line.starts_with("  ") != indented)
        });
        let (block, after) = rest.split_at(end.unwrap_or(rest.len()));
        if indented {
            out.literal(block);
        } else if blank {
            if !fresh && after.first().is_some_and(|line| !line.starts_with("  ")) {
                out.call(".Pp");
            }
        } else {
            block.iter().for_each(|line| out.say(line));
        }
        fresh = false;
        rest = after;
    }
}

/// "-EINVAL: NULL; -EMFILE, -ENFILE; what bind fails with", as a list for each
/// function.
fn errors(out: &mut Mdoc, functions: &[&Item]) {
    let of = |item: &Item| -> Option<String> {
        let start = item.comment.iter().position(|line| line.starts_with("Errors:"))?;
        let lines = item.comment[start..].iter().take_while(|line| !line.starts_with("Since:"));
        let text = lines.map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        Some(text.trim_start_matches("Errors:").trim().trim_end_matches('.').to_owned())
    };
    let all: Vec<(&str, String)> =
        functions.iter().filter_map(|item| Some((item.name.as_str(), of(item)?))).collect();
    if all.is_empty() {
        return;
    }
    out.call(".Sh ERRORS");
    for (name, text) in &all {
        if all.len() > 1 {
            out.call(&format!(".Ss Errors of {name}"));
        }
        out.call(".Bl -tag -width Ds");
        for part in text.split("; ") {
            let (codes, why) = match part.split_once(": ") {
                Some((codes, why)) if codes.starts_with("-E") => (codes, why),
                _ if part.starts_with("-E") => (part, ""),
                _ => ("others", part),
            };
            let codes = codes.replace("-E", "Er \\-E").replace(',', " ,");
            out.call(&format!(".It {codes}"));
            out.say(why.trim_start_matches("others "));
        }
        out.call(".El");
    }
}

fn see_also(out: &mut Mdoc, page: &Page, pages: &[Page]) {
    out.call(".Sh SEE ALSO");
    let others: Vec<&Page> = pages
        .iter()
        .filter(|other| (&other.name, &other.section) != (&page.name, &page.section))
        .collect();
    for (index, other) in others.iter().enumerate() {
        let comma = if index + 1 < others.len() { " ," } else { "" };
        out.call(&format!(".Xr {} {}{comma}", other.name, other.section));
    }
}

fn history(out: &mut Mdoc, functions: &[&Item]) {
    let mut versions = BTreeMap::<&str, Vec<&str>>::new();
    for item in functions {
        let since = item.comment.iter().find_map(|line| line.strip_prefix("Since: "));
        let version = since.unwrap_or_default().trim_end_matches('.');
        versions.entry(version).or_default().push(&item.name);
    }
    if versions.is_empty() {
        return;
    }
    out.call(".Sh HISTORY");
    for (version, names) in versions {
        out.say(&format!("Since version {version}: {}.", names.join(", ")));
    }
}
