//! `tables`: all the text that is made from the tables of the core, which are
//! `options_table`, `choices_table`, `reasons_table` and `counters_table`.
//!
//! A target is a whole file, or the lines between two that have `NAME:begin` and
//! `NAME:end` in them.

mod c;
mod pages;
mod python;
mod rows;
mod text;

pub(crate) use c::init;

use std::fs;
use std::path::Path;

type Failure = Box<dyn std::error::Error>;

enum Target {
    File(&'static str, String),
    Region(&'static str, &'static str, String),
}
use Target::{File, Region};

fn targets() -> Vec<Target> {
    vec![
        File("rust/capi/src/generated.rs", c::declarations()),
        Region("rust/capi/src/layout.rs", "structs", c::layout_in_rust()),
        Region("rust/capi/src/layout.rs", "constants", c::constants_in_rust()),
        Region("tests/abi/layout.c", "options", c::layout_in_c("forkserve_options")),
        Region("tests/abi/layout.c", "counters", c::layout_in_c("forkserve_stats")),
        Region("tests/abi/layout.c", "constants", c::constants_in_c()),
        File("tests/c/tables.h", c::tests()),
        File("python/src/options.txt", python::docstring()),
        File("python/src/reasons.txt", python::reason_doc()),
        Region("python/src/server.rs", "signature", python::signature()),
        Region("python/forkserve/_forkserve.pyi", "options", python::stub()),
        Region("python/forkserve/_forkserve.pyi", "counters", python::stub_of_counters()),
        Region("python/forkserve/_types.py", "reasons", python::reasons_of_events()),
        Region("python/forkserve/_types.py", "dropins", python::types(true)),
        Region("python/forkserve/_types.py", "options", python::types(false)),
        File("python/forkserve/_table.py", python::table()),
        Region("docs/options.md", "options", pages::options_page()),
        Region("docs/from-socketserver.md", "dropins", pages::dropins_page()),
        Region("docs/events.md", "reasons", pages::reasons_page()),
        Region("docs/events.md", "counters", pages::counters_page()),
        Region("docs/metrics.md", "metrics", pages::metrics_page()),
    ]
}

/// Writes them, or says which of them is not what it would write.
pub(crate) fn tables(root: &Path, check: bool) -> Result<(), Failure> {
    for target in targets() {
        let (name, text) = match target {
            File(name, text) => (name, text),
            Region(name, region, text) => {
                let whole = fs::read_to_string(root.join(name))?;
                let filled = fill(&whole, region, &text);
                (name, filled.ok_or(format!("{name}: no lines {region}:begin, {region}:end"))?)
            }
        };
        let path = root.join(name);
        if fs::read(&path).ok().as_deref() == Some(text.as_bytes()) {
            continue;
        }
        if check {
            return Err(format!("{name} has drifted from the tables; run: make tables").into());
        }
        fs::write(path, text)?;
    }
    Ok(())
}

/// `whole` with the text between the marks in the place of what is there.
fn fill(whole: &str, region: &str, text: &str) -> Option<String> {
    let begin = whole.find(&format!("{region}:begin"))?;
    let begin = begin + whole[begin..].find('\n')? + 1;
    let end = begin + whole[begin..].find(&format!("{region}:end"))?;
    let end = whole[..end].rfind('\n')? + 1;
    Some(format!("{}{text}{}", &whole[..begin], &whole[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_between_the_marks_are_replaced() {
        let whole = "a\n  # x:begin\nold\n  # x:end\nb\n";
        assert_eq!(
            fill(whole, "x", "new\n").as_deref(),
            Some("a\n  # x:begin\nnew\n  # x:end\nb\n")
        );
        assert_eq!(fill(whole, "y", "new\n"), None);
    }

    #[test]
    fn descriptions_are_worded_for_each_language() {
        let rows = rows::options();
        let lifetime = rows.iter().find(|row| row.name == "lifetime").unwrap();
        assert_eq!(
            text::c_text(&lifetime.first_sentence()),
            "How long a connection may last before its child gets SIGTERM, and kill_after_ms \
             later SIGKILL"
        );
        assert_eq!(
            text::c_note(lifetime),
            "Milliseconds, at most 1000000000000. 0, the default: no limit."
        );
        assert_eq!(text::python_note(lifetime), "None: no limit.");
        assert_eq!(text::wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(text::grouped(1_234_567), "1,234,567");
        assert_eq!(text::uncapitalized("SIGTERM comes"), "SIGTERM comes");
    }
}
