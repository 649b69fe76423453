//! Descriptions in the words of each language.

use super::rows::{options, Kind, Row};

/// `text` in lines of at most `width` characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > width
        {
            lines.push(word.to_owned());
            continue;
        }
        if !lines[last].is_empty() {
            lines[last].push(' ');
        }
        lines[last] += word;
    }
    lines
}

/// 1000000 as 1,000,000.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Replaces what stands between backticks.
fn each_name(text: &str, replace: impl Fn(&str) -> String) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { replace(part) } else { part.into() }).collect()
}

/// The name of an option in C, or what else it is.
fn in_c(name: &str) -> String {
    let row = options().into_iter().find(|row| row.name == name);
    row.map_or(name.to_owned(), |row| row.c_name().to_owned())
}

/// For a comment in C: no marks, the names of C.
pub(crate) fn c_text(text: &str) -> String {
    each_name(text, in_c)
}

/// For a page, whose options have the names of C.
pub(crate) fn page_text(text: &str) -> String {
    each_name(text, |name| format!("`{}`", in_c(name)))
}

/// For a docstring: no marks.
pub(crate) fn python_text(text: &str) -> String {
    text.replace('`', "")
}

/// "How many" as "how many"; "SO_REUSEPORT" stays, and so does "IPv4".
pub(crate) fn uncapitalized(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// The range and the default in a comment of C. The first of the lists of
/// networks says how one is written.
pub(crate) fn c_note(row: &Row) -> String {
    match row.kind {
        Kind::Number { least, most, default } => format!("{least} to {most}. Default {default}."),
        Kind::Flag { default } => format!("0 or 1. Default {}.", u8::from(default)),
        Kind::Time { least, most, default } => {
            format!("Milliseconds, {least} to {most}. Default {default}.")
        }
        Kind::Limit { none, most, meaning, default: None } => {
            format!("Milliseconds, at most {most}. {none}, the default: {meaning}.")
        }
        Kind::Limit { none, most, meaning, default: Some(default) } => {
            format!("Milliseconds, 0 to {most}; {none}: {meaning}. Default {default}.")
        }
        Kind::Bytes { most } => {
            format!("At most {most} bytes, copied. NULL, the default: nothing.")
        }
        Kind::Choice { choice } => {
            let prefix = choice.c_prefix();
            format!("{prefix}*. Default {prefix}{}.", choice.variants[0].c_suffix())
        }
        Kind::Networks if is_first_list(row) => {
            "As text, like all lists of networks here: addresses or ADDRESS/PREFIX, separated by \
             commas or white space, such as \"10.0.0.0/8, 192.0.2.7, 2001:db8::/32\"; at most \
             65536. Copied. NULL, the default: none."
                .into()
        }
        Kind::Networks => "NULL, the default: none.".into(),
        Kind::Statuses => "As text: \"70, 134\". NULL, the default: none.".into(),
        Kind::Mode => "0 to 0777. -1, the default: none.".into(),
        Kind::Account => "Copied. NULL, the default: none.".into(),
        Kind::Signed { least, most, default } => format!("{least} to {most}. Default {default}."),
        Kind::Setting { none, least, most, meaning } => {
            format!("{least} to {most}. {none}, the default: {meaning}.")
        }
        Kind::Text { example } => format!("As text: \"{example}\". NULL, the default: none."),
        Kind::Path => "Copied. NULL, the default: none.".into(),
        Kind::Paths => "As text, with colons between them, copied. NULL, the default: none.".into(),
    }
}

/// The same in a docstring of Python, whose signatures show the defaults.
pub(crate) fn python_note(row: &Row) -> String {
    match row.kind {
        Kind::Number { least, most, .. } => format!("{} to {}.", grouped(least), grouped(most)),
        Kind::Flag { .. } => String::new(),
        Kind::Time { least, most, .. } => {
            format!("{} to {} seconds.", grouped(least / 1000), grouped(most / 1000))
        }
        Kind::Limit { meaning, .. } => format!("None: {meaning}."),
        Kind::Bytes { most } => format!("At most {most} bytes."),
        Kind::Choice { choice } => {
            let word = |index: usize| {
                let variant = &choice.variants[index];
                let about = variant.about().replace(" The default.", "");
                let about = uncapitalized(about.trim_end_matches('.'));
                format!("\"{}\": {}", variant.word, python_text(&about))
            };
            (0..choice.variants.len()).map(word).collect::<Vec<_>>().join("; ") + "."
        }
        Kind::Networks if is_first_list(row) => {
            "Lists of networks are \"10.0.0.0/8, ::1\", or several such texts or objects of \
             ipaddress, at most 65,536."
                .into()
        }
        Kind::Networks => String::new(),
        Kind::Statuses => "Several ints, 0 to 255.".into(),
        Kind::Mode => "0 to 0o777.".into(),
        Kind::Account => String::new(),
        Kind::Signed { least, most, .. } => format!("{least} to {most}."),
        Kind::Setting { least, most, meaning, .. } => {
            format!("{least} to {most}. None: {meaning}.")
        }
        Kind::Text { example } => format!("A str: \"{example}\"."),
        Kind::Path => String::new(),
        Kind::Paths => "Several, or a str with colons between them.".into(),
    }
}

fn is_first_list(row: &Row) -> bool {
    let rows = options();
    let first = rows.iter().find(|row| matches!(row.kind, Kind::Networks));
    first.is_some_and(|first| first.name == row.name)
}
