//! The tables of the pages in docs.

use super::rows::{counters, options, reasons, Kind, Row};
use super::text::{grouped, page_text, uncapitalized};

/// docs/options.md: a table a topic.
pub(crate) fn options_page() -> String {
    let mut out = String::new();
    let mut topic = "";
    for row in options() {
        if row.topic != topic {
            topic = row.topic;
            out.push_str(&format!(
                "\n### {topic}\n\n| Option | Default | Range | |\n|---|---|---|---|\n"
            ));
        }
        let (default, range) = default_and_range(&row);
        let about = page_text(&uncapitalized(&row.first_sentence()));
        out.push_str(&format!("| `{}` | {default} | {range} | {about} |\n", row.c_name()));
    }
    out.trim_start().to_owned()
}

fn default_and_range(row: &Row) -> (String, String) {
    match row.kind {
        Kind::Number { least, most, default } => {
            (grouped(default), format!("{} to {}", grouped(least), grouped(most)))
        }
        Kind::Flag { default } => (u8::from(default).to_string(), "0, 1".into()),
        Kind::Time { least, most, default } => {
            (grouped(default), format!("{} to {}", grouped(least), power(most)))
        }
        Kind::Limit { none, most, meaning, default } => {
            let default = default.map_or(format!("{none}: {meaning}"), grouped);
            let range = match none {
                0 => format!("0, or up to {}", power(most)),
                none => format!("{none}: {meaning}; 0 to {}", power(most)),
            };
            (default, range)
        }
        Kind::Bytes { most } => ("none".into(), format!("up to {} bytes", grouped(most))),
        Kind::Choice { choice } => {
            let words: Vec<&str> = choice.variants.iter().map(|variant| variant.word).collect();
            (words[0].into(), words.join(", "))
        }
        Kind::Networks => ("none".into(), "up to 65,536 networks".into()),
        Kind::Statuses => ("none".into(), "exit statuses".into()),
        Kind::Mode => ("-1: none".into(), "-1, 0 to 0777".into()),
        Kind::Account => ("none".into(), "a name or a number".into()),
        Kind::Signed { least, most, default } => {
            (default.to_string(), format!("{least} to {most}"))
        }
        Kind::Setting { none, least, most, meaning } => {
            (format!("{none}: {meaning}"), format!("{least} to {most}"))
        }
        Kind::Text { example } => ("none".into(), format!("as `{example}`")),
        Kind::Path => ("none".into(), "a path".into()),
        Kind::Paths => ("none".into(), "paths".into()),
    }
}

fn power(number: u64) -> String {
    match number {
        1_000_000_000_000 => "10¹²".into(),
        other => grouped(other),
    }
}

/// docs/events.md: the reasons.
pub(crate) fn reasons_page() -> String {
    let mut out = String::from("| Reason | Of | Meaning |\n|---|---|---|\n");
    for reason in reasons() {
        let of = match (reason.refused, reason.paused) {
            (true, true) => "refused, paused",
            (true, false) => "refused",
            (false, true) => "paused",
            (false, false) if reason.renewed => "spares_renewed",
            (false, false) => "sandbox_reduced",
        };
        let errno = if reason.errno { " With the errno." } else { "" };
        let about = page_text(&reason.about());
        out.push_str(&format!("| `{}` | {of} | {about}{errno} |\n", reason.name));
    }
    out
}

/// docs/events.md: the counters.
pub(crate) fn counters_page() -> String {
    let mut out = String::from("| Counter | Counts |\n|---|---|\n");
    for counter in counters() {
        let about = page_text(&uncapitalized(counter.about().trim_end_matches('.')));
        out.push_str(&format!("| `{}` | {about} |\n", counter.c_name));
    }
    out
}

/// docs/metrics.md: the metrics, as their samples are named.
pub(crate) fn metrics_page() -> String {
    let mut out = String::from("| Metric | Type | Label | |\n|---|---|---|---|\n");
    for forkserve::Family { prefix, name, kind, label, about, .. } in forkserve::families() {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let label = if label.is_empty() { String::new() } else { format!("`{label}`") };
        let about = about.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let about = page_text(&uncapitalized(about.trim_end_matches('.')));
        out.push_str(&format!("| `{prefix}{name}{suffix}` | {kind} | {label} | {about} |\n"));
    }
    out
}

/// docs/from-socketserver.md: what the drop-ins take.
pub(crate) fn dropins_page() -> String {
    let mut out = String::from("| | |\n|---|---|\n");
    let mut topics: Vec<(&str, Vec<String>)> = Vec::new();
    for row in options().iter().filter(|row| row.is_for_dropins()) {
        let name = format!("`{}`", row.name);
        match topics.last_mut() {
            Some((topic, names)) if *topic == row.topic => names.push(name),
            _ => topics.push((row.topic, vec![name])),
        }
    }
    for (topic, names) in topics {
        out.push_str(&format!("| {} | {} |\n", topic.to_lowercase(), names.join(", ")));
    }
    out + "| memory | `gc_freeze` |\n| encryption | `ssl`, `handshake_timeout` |\n"
}
