//! What is Python: the signature, docstring, stubs and types of the module, and
//! a table for its command, its drop-ins and its tests.

use super::rows::{counters, options, reasons, Kind, Reason, Row};
use super::text::{python_note, python_text, uncapitalized, wrap};

/// Options that only Python has: what stands in the signature, its type in the
/// stubs, and its default there. Their descriptions are in python/src/server.rs.
const OWN: [(&str, &str, &str); 4] = [
    ("ssl", "SSLContext | Callable[[], SSLContext] | None", "None"),
    ("handshake_timeout", "float | None", "10.0"),
    ("gc_freeze", "bool", "False"),
    ("observer", "Callable[[Event], object] | None", "None"),
];
/// Those of them that the drop-ins take too.
const OWN_OF_DROPINS: [&str; 3] = ["ssl", "handshake_timeout", "gc_freeze"];

fn seconds(ms: u64) -> String {
    format!("{:?}", ms as f64 / 1000.0)
}

fn default(row: &Row) -> String {
    match row.kind {
        Kind::Number { default, .. } => default.to_string(),
        Kind::Flag { default } => if default { "True" } else { "False" }.into(),
        Kind::Time { default, .. } => seconds(default),
        Kind::Limit { default, .. } => default.map_or("None".into(), seconds),
        Kind::Bytes { .. } => "b''".into(),
        Kind::Choice { choice } => format!("'{}'", choice.variants[0].word),
        Kind::Networks | Kind::Statuses => "()".into(),
        Kind::Signed { default, .. } => default.to_string(),
        Kind::Text { .. } => "''".into(),
        Kind::Paths => "()".into(),
        Kind::Mode | Kind::Account | Kind::Setting { .. } | Kind::Path => "None".into(),
    }
}

fn annotation(row: &Row) -> String {
    match row.kind {
        Kind::Number { .. } => "int".into(),
        Kind::Flag { .. } => "bool".into(),
        Kind::Time { .. } => "float".into(),
        Kind::Limit { .. } => "float | None".into(),
        Kind::Bytes { .. } => "bytes | bytearray".into(),
        Kind::Choice { choice } => {
            let words: Vec<String> =
                choice.variants.iter().map(|variant| format!("{:?}", variant.word)).collect();
            format!("Literal[{}]", words.join(", "))
        }
        Kind::Networks => "Networks".into(),
        Kind::Statuses => "Iterable[int]".into(),
        Kind::Mode => "int | None".into(),
        Kind::Account => "str | int | None".into(),
        Kind::Signed { .. } => "int".into(),
        Kind::Setting { .. } => "int | None".into(),
        Kind::Text { .. } => "str".into(),
        Kind::Path => "StrOrBytesPath | None".into(),
        Kind::Paths => "str | Iterable[StrOrBytesPath]".into(),
    }
}

/// The docstring of Server: its part about the options.
pub(crate) fn docstring() -> String {
    let mut out = String::new();
    for row in options() {
        let text = format!("{} {}", uncapitalized(&row.about("python")), python_note(&row));
        for line in wrap(&format!("{}: {}", row.name, python_text(&text)), 92) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

/// The attributes of Server's constructor.
pub(crate) fn signature() -> String {
    let rows = options();
    let own = OWN.iter().map(|(name, _, default)| format!("{name}={default}"));
    let all = rows.iter().map(|row| format!("{}={}", row.name, default(row))).chain(own);
    let text = format!("(address, handler, *, {})", all.collect::<Vec<_>>().join(", "));
    let mut out = String::from(
        "    #[pyo3(\n        signature = (address, handler, **options),\n        text_signature = \"",
    );
    let lines = wrap(&text, 78);
    out.push_str(&lines.join(" \\\n            "));
    out + "\"\n    )]\n"
}

/// The parameters in the stubs.
pub(crate) fn stub() -> String {
    let mut out = String::new();
    for row in options() {
        let default = default(&row).replace('\'', "\"");
        let annotation = annotation(&row);
        out.push_str(&format!("        {}: {annotation} = {default},\n", row.name));
    }
    for (name, annotation, default) in OWN {
        out.push_str(&format!("        {name}: {annotation} = {default},\n"));
    }
    out
}

pub(crate) fn stub_of_counters() -> String {
    let mut out = String::new();
    for counter in counters() {
        let result = if counter.histogram { "tuple[int, ...]" } else { "int" };
        let head = format!("    @property\n    def {}(self) -> {result}: ...\n", counter.name);
        out.push_str(&head);
    }
    out
}

/// The description of an event's reason.
pub(crate) fn reason_doc() -> String {
    let words = |of: fn(&Reason) -> bool| {
        let reasons = reasons();
        let words = reasons.iter().filter(|reason| of(reason));
        words.map(|reason| format!("{:?}", reason.name)).collect::<Vec<_>>().join(", ")
    };
    let (refused, paused) = (words(|reason| reason.refused), words(|reason| reason.paused));
    let renewed = words(|reason| reason.renewed);
    let reduced = words(|reason| !reason.refused && !reason.paused && !reason.renewed);
    let text = format!(
        "Why. Of \"refused\": {refused}; of \"paused\": {paused}; of \"spares_renewed\": {renewed}; \
         of \"sandbox_reduced\": {reduced}."
    );
    wrap(&text, 92).join("\n") + "\n"
}

/// The reasons in forkserve/_types.py.
pub(crate) fn reasons_of_events() -> String {
    reasons().iter().map(|reason| format!("    {:?},\n", reason.name)).collect()
}

/// The options in forkserve/_types.py that the drop-ins take, or that they do not.
pub(crate) fn types(dropins: bool) -> String {
    let rows = options();
    let rows = rows.iter().filter(|row| row.is_for_dropins() == dropins);
    let mut out: String =
        rows.map(|row| format!("    {}: {}\n", row.name, annotation(row))).collect();
    let own = OWN.iter().filter(|(name, ..)| OWN_OF_DROPINS.contains(name) == dropins);
    out.extend(own.map(|(name, annotation, _)| format!("    {name}: {annotation}\n")));
    out
}

/// forkserve/_table.py.
pub(crate) fn table() -> String {
    let mut out = String::from(
        "\"\"\"The tables of the core, for the command, the drop-ins and the tests.\n\n\
         Written by `make tables`.\n\"\"\"\n\n\n\
         class Option:\n    \"\"\"An option of Server. Times are milliseconds here.\"\"\"\n\n    \
         def __init__(\n        self,\n        name: str,\n        topic: str,\n        kind: str,\n        \
         default: str,\n        about: str,\n        *,\n        least: int = 0,\n        most: int = 0,\n        \
         words: tuple[str, ...] = (),\n        example: str = \"\",\n        dropins: bool = True,\n    ) -> None:\n        \
         self.name = name\n        self.topic = topic\n        self.kind = kind\n        \
         self.default = default\n        self.about = about\n        self.least = least\n        \
         self.most = most\n        self.words = words\n        self.example = example\n        self.dropins = dropins\n\n\nOPTIONS = (\n",
    );
    for row in options() {
        let about = python_text(&uncapitalized(&row.first_sentence()));
        let mut more = Vec::new();
        let (kind, shown) = match row.kind {
            Kind::Number { least, most, default } => {
                more.extend([format!("least={least}"), format!("most={most}")]);
                ("number", default.to_string())
            }
            Kind::Flag { .. } => ("flag", "no".into()),
            Kind::Time { least, most, default } => {
                more.extend([format!("least={least}"), format!("most={most}")]);
                ("time", short(default))
            }
            Kind::Limit { none, most, default, .. } => {
                // Without a limit of 0 where that means none in C.
                more.extend([format!("least={}", i32::from(none == 0)), format!("most={most}")]);
                ("limit", default.map_or("none".into(), short))
            }
            Kind::Bytes { most } => {
                more.push(format!("most={most}"));
                ("bytes", "none".into())
            }
            Kind::Choice { choice } => {
                let words: Vec<String> =
                    choice.variants.iter().map(|variant| format!("{:?}", variant.word)).collect();
                more.push(format!("words=({})", words.join(", ")));
                ("choice", choice.variants[0].word.into())
            }
            Kind::Networks => ("networks", "none".into()),
            Kind::Statuses => ("statuses", "none".into()),
            Kind::Mode => ("mode", "none".into()),
            Kind::Account => ("account", "none".into()),
            Kind::Signed { least, most, default } => {
                more.extend([format!("least={least}"), format!("most={most}")]);
                ("signed", default.to_string())
            }
            Kind::Setting { least, most, meaning, .. } => {
                more.extend([format!("least={least}"), format!("most={most}")]);
                ("setting", meaning.into())
            }
            Kind::Text { example } => {
                more.push(format!("example={example:?}"));
                ("text", "none".into())
            }
            Kind::Path => ("path", "none".into()),
            Kind::Paths => ("paths", "none".into()),
        };
        if !row.is_for_dropins() {
            more.push("dropins=False".into());
        }
        out.push_str("    Option(\n");
        for argument in [row.name, row.topic, kind, &shown] {
            out.push_str(&format!("        {argument:?},\n"));
        }
        text(&mut out, 8, "", &about);
        more.iter().for_each(|argument| out.push_str(&format!("        {argument},\n")));
        out.push_str("    ),\n");
    }
    out.push_str(")\n\n# What people are told, by the reason of an event.\nREASONS = {\n");
    for reason in reasons() {
        out.push_str(&format!("    {:?}: {:?},\n", reason.name, reason.words));
    }
    out + "}\n"
}

/// Seconds without needless zeroes.
fn short(ms: u64) -> String {
    (ms as f64 / 1000.0).to_string()
}

/// A str as an argument, in several lines if it is long.
fn text(out: &mut String, indent: usize, name: &str, value: &str) {
    let space = " ".repeat(indent);
    if indent + name.len() + value.len() + 3 <= 96 {
        out.push_str(&format!("{space}{name}{value:?},\n"));
        return;
    }
    let lines = wrap(value, 80);
    for (index, line) in lines.iter().enumerate() {
        let last = index + 1 == lines.len();
        let line = if last { line.clone() } else { format!("{line} ") };
        out.push_str(&format!("{space}{line:?}{}\n", if last { "," } else { "" }));
    }
}
