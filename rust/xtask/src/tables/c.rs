//! What is C: the structs and constants of the C crate, which cbindgen has to
//! find as text; where their fields lie; and lists for the tests.

use super::rows::{choices, counters, options, reasons, Counter, Kind, Row};
use super::text::{c_note, c_text, uncapitalized, wrap};

/// A field of a struct, as Rust and C write it, with its size.
struct Field {
    name: &'static str,
    rust: &'static str,
    size: usize,
    since: &'static str,
    comment: String,
}

const DURATIONS: usize = 32;

/// By version: what a compiled program knows stays where it is.
fn by_version(mut fields: Vec<Field>) -> Vec<Field> {
    let version = |field: &Field| -> Vec<u32> {
        field.since.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    fields.sort_by_key(version);
    fields
}

fn option_fields() -> Vec<Field> {
    let field = |row: &Row| {
        let (rust, size) = match row.kind {
            Kind::Number { .. } => ("u32", 4),
            Kind::Flag { .. } | Kind::Choice { .. } | Kind::Mode => ("i32", 4),
            Kind::Signed { .. } | Kind::Setting { .. } => ("i32", 4),
            Kind::Time { .. } | Kind::Limit { .. } => ("i64", 8),
            Kind::Bytes { .. }
            | Kind::Networks
            | Kind::Statuses
            | Kind::Account
            | Kind::Text { .. }
            | Kind::Path
            | Kind::Paths => ("*const c_char", 8),
        };
        let comment = format!("{} {}", c_text(&row.about("c")), c_note(row));
        Field { name: row.c_name(), rust, size, since: row.since(), comment }
    };
    by_version(options().iter().map(field).collect())
}

fn counter_fields() -> Vec<Field> {
    let field = |counter: &Counter| {
        let (rust, size) = match counter.histogram {
            true => ("[u64; FORKSERVE_DURATIONS]", 8 * DURATIONS),
            false => ("u64", 8),
        };
        let comment = c_text(&counter.about());
        Field { name: counter.c_name, rust, size, since: counter.since, comment }
    };
    by_version(counters().iter().map(field).collect())
}

/// Each field's offset, and the size of the whole. The first is `size`.
fn offsets(fields: &[Field]) -> (Vec<usize>, usize) {
    let mut end: usize = 8;
    let mut offsets = Vec::new();
    for field in fields {
        end = end.next_multiple_of(field.size.min(8));
        offsets.push(end);
        end += field.size;
    }
    (offsets, end)
}

fn comment(out: &mut String, indent: &str, text: &str) {
    for line in wrap(text, 76 - indent.len()) {
        out.push_str(&format!("{indent}/// {line}\n"));
    }
}

fn structure(out: &mut String, name: &str, about: &str, fields: &[Field]) {
    comment(out, "", about);
    let init = format!("{}_INIT", name.to_uppercase());
    out.push_str(&format!("#[repr(C)]\npub struct {name} {{\n"));
    comment(out, "    ", &format!("sizeof({name}), set by {init}."));
    out.push_str("    pub size: usize,\n");
    for field in fields {
        comment(out, "    ", &field.comment);
        out.push_str(&format!("    pub {}: {},\n", field.name, field.rust));
    }
    out.push_str("}\n\n");
    let (_, size) = offsets(fields);
    assert!(size % 8 == 0, "{name} ends with padding: sort its newest rows by size");
    let first = fields[0].since;
    let last = fields.iter().rfind(|field| field.since == first).unwrap_or(&fields[0]);
    let short = name.trim_start_matches("forkserve_").to_uppercase();
    out.push_str("/// Its size in the first version: a caller's cannot be smaller.\n");
    out.push_str(&format!(
        "pub(crate) const {short}_FIRST: usize =\n    offset_of!({name}, {}) + size_of::<{}>();\n",
        last.name, last.rust
    ));
}

/// rust/capi/src/generated.rs.
pub(crate) fn declarations() -> String {
    let mut out = String::from(
        "//! What the tables of the core are in C. Written by `make tables`.\n\n\
         use crate::FORKSERVE_DURATIONS;\nuse libc::c_char;\nuse std::mem::offset_of;\n\n",
    );
    for choice in choices() {
        for (index, variant) in choice.variants.iter().enumerate() {
            let owner = options().into_iter().find(
                |row| matches!(row.kind, Kind::Choice { choice: of } if std::ptr::eq(of, choice)),
            );
            let owner = owner.map_or("", |row| row.c_name());
            comment(
                &mut out,
                "",
                &format!("For {owner}: {}", uncapitalized(&c_text(&variant.about()))),
            );
            out.push_str(&format!(
                "pub const {}{}: i32 = {index};\n",
                choice.c_prefix(),
                variant.c_suffix()
            ));
        }
        out.push('\n');
    }
    for reason in reasons() {
        let errno = if reason.errno { " The event's error says why." } else { "" };
        comment(&mut out, "", &(c_text(&reason.about()) + errno));
        out.push_str(&format!("pub const {}: i32 = {};\n", reason.c_name(), reason.number));
    }
    out.push('\n');
    structure(
        &mut out,
        "forkserve_options",
        "The settings of a server. Begin with FORKSERVE_OPTIONS_INIT, which holds the defaults, \
         and change what you need.",
        &option_fields(),
    );
    out.push('\n');
    structure(
        &mut out,
        "forkserve_stats",
        "Counters of a server, since it was made. Set it to FORKSERVE_STATS_INIT before the \
         call. While nothing is going on, accepted is the sum of live, held, ended and refused.",
        &counter_fields(),
    );
    out
}

/// The macro with the initial values of a struct.
pub(crate) fn init(name: &str) -> Option<String> {
    let values: Vec<String> = match name {
        "FORKSERVE_OPTIONS_INIT" => {
            let rows = options();
            let value = |field: &Field| {
                let row = rows.iter().find(|row| row.c_name() == field.name);
                row.map(default).unwrap_or_default()
            };
            option_fields().iter().map(value).collect()
        }
        "FORKSERVE_STATS_INIT" => {
            let zero = |field: &Field| if field.size > 8 { "{0}" } else { "0" }.to_owned();
            counter_fields().iter().map(zero).collect()
        }
        _ => return None,
    };
    let of = name.trim_end_matches("_INIT").to_lowercase();
    let mut lines = vec![format!("#define {name}"), "    {".into()];
    let all = format!("sizeof({of}), {}", values.join(", "));
    for (index, line) in wrap(&all, 78).into_iter().enumerate() {
        let indent = if index == 0 { 8 } else { 12 };
        lines.push(format!("{}{line}", " ".repeat(indent)));
    }
    let mut text: String = lines.iter().map(|line| format!("{line:<91}\\\n")).collect();
    text += "    }\n";
    Some(text)
}

fn default(row: &Row) -> String {
    match row.kind {
        Kind::Number { default, .. } | Kind::Time { default, .. } => default.to_string(),
        Kind::Flag { default } => u8::from(default).to_string(),
        Kind::Limit { none, default, .. } => {
            default.map_or(none.to_string(), |default| default.to_string())
        }
        Kind::Choice { choice } => {
            format!("{}{}", choice.c_prefix(), choice.variants[0].c_suffix())
        }
        Kind::Mode => "-1".into(),
        Kind::Signed { default, .. } => default.to_string(),
        Kind::Setting { none, .. } => none.to_string(),
        Kind::Bytes { .. }
        | Kind::Networks
        | Kind::Statuses
        | Kind::Account
        | Kind::Text { .. }
        | Kind::Path
        | Kind::Paths => "NULL".into(),
    }
}

/// The lines of rust/capi/src/layout.rs.
pub(crate) fn layout_in_rust() -> String {
    let layout = |name: &str, fields: &[Field]| {
        let (offsets, size) = offsets(fields);
        let mut out = format!("layout!({name}: {size} {{\n    size: 0,\n");
        for (field, at) in fields.iter().zip(offsets) {
            out.push_str(&format!("    {}: {at},\n", field.name));
        }
        out + "});\n"
    };
    let options = layout("forkserve_options", &option_fields());
    format!("{options}\n{}", layout("forkserve_stats", &counter_fields()))
}

/// The lines of tests/abi/layout.c.
pub(crate) fn layout_in_c(name: &str) -> String {
    let fields = if name == "forkserve_options" { option_fields() } else { counter_fields() };
    let (offsets, size) = offsets(&fields);
    let mut out = format!("AT({name}, size, 0);\n");
    for (field, at) in fields.iter().zip(offsets) {
        out.push_str(&format!("AT({name}, {}, {at});\n", field.name));
    }
    let last = fields[fields.len() - 1].name;
    out + &format!("SIZE({name}, {size});\nLAST({name}, {last});\n")
}

fn constants() -> Vec<(String, usize)> {
    let mut constants: Vec<(String, usize)> =
        reasons().iter().map(|reason| (reason.c_name(), reason.number as usize)).collect();
    for choice in choices() {
        let names =
            choice.variants.iter().map(|v| format!("{}{}", choice.c_prefix(), v.c_suffix()));
        constants.extend(names.zip(0..));
    }
    constants
}

pub(crate) fn constants_in_rust() -> String {
    constants().iter().map(|(name, value)| format!("    {name} = {value},\n")).collect()
}

pub(crate) fn constants_in_c() -> String {
    constants().iter().map(|(name, value)| format!("IS({name}, {value});\n")).collect()
}

/// tests/c/tables.h.
pub(crate) fn tests() -> String {
    let mut out = String::from(
        "/* The tables of the core for the C tests. Written by `make tables`. */\n\
         #ifndef TABLES_H\n#define TABLES_H\n",
    );
    let row = |row: &Row| {
        let name = row.c_name();
        match row.kind {
            Kind::Number { least, most, .. } => format!("NUMBER({name}, {least}, {most})"),
            Kind::Flag { .. } => format!("FLAG({name})"),
            Kind::Time { least, most, .. } => format!("TIME({name}, {least}, {most})"),
            Kind::Limit { none, most, .. } => format!("LIMIT({name}, {none}, {most})"),
            Kind::Bytes { most } => format!("BYTES({name}, {most})"),
            Kind::Choice { choice } => {
                let words: Vec<String> =
                    choice.variants.iter().map(|variant| format!("{:?}", variant.word)).collect();
                format!("CHOICE({name}, {})", words.join(", "))
            }
            Kind::Networks => format!("NETWORKS({name})"),
            Kind::Statuses => format!("STATUSES({name})"),
            Kind::Mode => format!("MODE({name})"),
            Kind::Account => format!("ACCOUNT({name})"),
            Kind::Signed { least, most, .. } => format!("SIGNED({name}, {least}, {most})"),
            Kind::Setting { none, least, most, .. } => {
                format!("SETTING({name}, {none}, {least}, {most})")
            }
            Kind::Text { example } => format!("TEXT({name}, {example:?})"),
            Kind::Path => format!("PATH({name})"),
            Kind::Paths => format!("PATHS({name})"),
        }
    };
    let kinds = "NUMBER, FLAG, TIME, LIMIT, BYTES, CHOICE, NETWORKS, STATUSES, MODE, ACCOUNT, \
                 SIGNED, SETTING, TEXT, PATH, PATHS";
    let rows = options().iter().map(row).collect();
    list(&mut out, "The options, by kind.", &format!("OPTIONS({kinds})"), rows);
    let rows = reasons().iter().map(|r| format!("REASON({}, {:?})", r.c_name(), r.name)).collect();
    list(&mut out, "The reasons of events.", "REASONS(REASON)", rows);
    let counters = counters();
    let numbers = counters.iter().filter(|counter| !counter.histogram);
    let rows = numbers.map(|counter| format!("COUNTER({})", counter.name)).collect();
    list(&mut out, "The counters that are numbers.", "COUNTERS(COUNTER)", rows);
    out + "\n#endif\n"
}

fn list(out: &mut String, about: &str, head: &str, rows: Vec<String>) {
    out.push_str(&format!("\n/* {about} */\n"));
    let define = format!("#define {head}");
    let lines: Vec<String> =
        std::iter::once(define).chain(rows.iter().map(|row| format!("    {row}"))).collect();
    let last = lines.len() - 1;
    for (index, line) in lines.iter().enumerate() {
        match index == last {
            true => out.push_str(&format!("{line}\n")),
            false => out.push_str(&format!("{line:<91}\\\n")),
        }
    }
}
