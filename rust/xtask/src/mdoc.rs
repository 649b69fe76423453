//! Text as mdoc(7), the language of manual pages: what has a meaning there is
//! escaped, and the little Markdown that the pages use becomes macros.

use std::iter::Peekable;

/// A page in the making.
#[derive(Default)]
pub(crate) struct Mdoc {
    text: String,
}

impl Mdoc {
    /// A line with a macro. Arguments are escaped by the caller.
    pub(crate) fn call(&mut self, line: &str) {
        self.end_line();
        self.text += line;
        self.text.push('\n');
    }

    /// A line with a macro and one argument, which may have spaces.
    pub(crate) fn call_with(&mut self, call: &str, argument: &str) {
        let quote = if argument.contains(' ') { "\"" } else { "" };
        let argument = escape(argument).replace('"', "\\(dq");
        self.call(&format!("{call} {quote}{argument}{quote}"));
    }

    /// Running text: references such as fork(2) become links, names and `code` bold.
    /// Each sentence begins a line, as is usual in mdoc.
    pub(crate) fn say(&mut self, text: &str) {
        let mut sentence_ends = false;
        for word in text.split_whitespace() {
            if sentence_ends {
                self.end_line();
            }
            sentence_ends = word.trim_end_matches([')', '"', '*']).ends_with(['.', '?', '!']);
            if let Some((name, section, rest)) = reference(word) {
                let rest: String = rest.chars().map(|c| format!(" {c}")).collect();
                self.call(&format!(".Xr {name} {section}{rest}"));
                continue;
            }
            let word = marked(word);
            if self.column() + 1 + word.len() > 79 {
                self.end_line();
            }
            if self.column() > 0 {
                self.text.push(' ');
            } else if word.starts_with(['.', '\'']) {
                // There it would begin a macro.
                self.text += "\\&";
            }
            self.text += &word;
        }
        self.end_line();
    }

    fn column(&self) -> usize {
        self.text.len() - self.text.rfind('\n').map_or(0, |at| at + 1)
    }

    /// Lines as they are.
    pub(crate) fn literal(&mut self, lines: &[String]) {
        self.call(".Bd -literal -offset indent");
        for line in lines {
            let line = escape(line);
            let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
            self.call(&format!("{guard}{line}"));
        }
        self.call(".Ed");
    }

    fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Paragraphs, lists, tables of two columns, headings and fenced code.
    pub(crate) fn markdown(&mut self, text: &str) {
        let mut lines = text.lines().peekable();
        // A macro that begins a section or a list makes a space by itself.
        let mut fresh = true;
        while let Some(line) = lines.next() {
            if line.is_empty() {
                continue;
            }
            if let Some(title) = line.strip_prefix("## ") {
                self.call(&format!(".Sh {}", escape(&title.to_uppercase())));
                fresh = true;
                continue;
            }
            if let Some(title) = line.strip_prefix("### ") {
                self.call(&format!(".Ss {}", escape(title)));
                fresh = true;
                continue;
            }
            if line.starts_with("```") {
                let code = lines.by_ref().take_while(|line| !line.starts_with("```"));
                let code: Vec<String> = code.map(str::to_owned).collect();
                self.literal(&code);
            } else if line.starts_with("- ") {
                self.bullets(line, &mut lines);
            } else if line.starts_with('|') {
                self.table(line, &mut lines);
            } else {
                if !fresh {
                    self.call(".Pp");
                }
                self.say(line);
                while let Some(more) = lines.next_if(|line| is_prose(line)) {
                    self.say(more);
                }
            }
            fresh = false;
        }
    }

    fn bullets<'a>(&mut self, first: &'a str, lines: &mut Peekable<impl Iterator<Item = &'a str>>) {
        self.call(".Bl -bullet");
        let mut line = Some(first);
        while let Some(text) = line {
            match text.strip_prefix("- ") {
                Some(item) => {
                    self.call(".It");
                    self.say(item);
                }
                None => self.say(text),
            }
            line = lines.next_if(|line| line.starts_with("- ") || line.starts_with("  "));
        }
        self.call(".El");
    }

    fn table<'a>(&mut self, head: &'a str, lines: &mut Peekable<impl Iterator<Item = &'a str>>) {
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        self.call(".Bl -tag -width Ds");
        for line in std::iter::once(head)
            .chain(std::iter::from_fn(|| lines.next_if(|line| line.starts_with('|'))))
        {
            let cells = cells(line);
            // The head of the table, and the line below it.
            if cells.iter().all(|cell| cell.is_empty() || cell.starts_with("--")) {
                continue;
            }
            self.call(&format!(".It {}", tag(&cells[0])));
            self.say(&cells[1..].join(" "));
        }
        self.call(".El");
    }

    pub(crate) fn finish(mut self) -> String {
        self.end_line();
        self.text
    }
}

fn is_prose(line: &str) -> bool {
    !line.is_empty() && !["#", "```", "- ", "|"].iter().any(|start| line.starts_with(start))
}

/// Text as the tag of a list, where words that are names of macros mean nothing.
fn tag(text: &str) -> String {
    let words = text.split_whitespace().map(marked);
    words.map(|word| format!("\\&{word}")).collect::<Vec<_>>().join(" ")
}

/// `fork(2)`, and the punctuation behind it.
fn reference(word: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = word.split_once('(')?;
    let (section, rest) = rest.split_once(')')?;
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    let is_section = section.len() == 1 && section.starts_with(|c: char| c.is_ascii_digit());
    let is_end = rest.chars().all(|c| ".,;:)".contains(c));
    (is_name(name) && is_section && is_end).then_some((name, section, rest))
}

/// Names of the library and `code` in bold.
fn marked(word: &str) -> String {
    let mut text = String::new();
    let mut code = false;
    for (index, part) in word.split('`').enumerate() {
        code = index % 2 == 1;
        if code {
            text += &format!("\\fB{}\\fR", escape(part));
        } else {
            text += &names(part);
        }
    }
    // `two words`: the mark stays open until the word that closes it.
    if code {
        text.truncate(text.len() - "\\fR".len());
    }
    text.replace("**", "")
}

fn names(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_*".contains(c);
    let starts = |text: &str| text.starts_with("forkserve_") || text.starts_with("FORKSERVE_");
    let Some(at) = (0..text.len()).find(|&at| text.is_char_boundary(at) && starts(&text[at..]))
    else {
        return escape(text);
    };
    let end = text[at..].find(|c| !is_part(c)).map_or(text.len(), |len| at + len);
    format!("{}\\fB{}\\fR{}", escape(&text[..at]), escape(&text[at..end]), escape(&text[end..]))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('^', "\\(ha").replace('~', "\\(ti")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> String {
        let mut page = Mdoc::default();
        page.markdown(text);
        page.finish()
    }

    #[test]
    fn what_means_something_in_mdoc_is_escaped() {
        assert_eq!(made("a-b \\ 2^3"), "a\\-b \\e 2\\(ha3\n");
        assert_eq!(made(".Sh x\n'y"), "\\&.Sh x\n\\&'y\n");
    }

    #[test]
    fn names_and_code_are_bold_and_references_are_links() {
        assert_eq!(made("of forkserve_stats:"), "of \\fBforkserve_stats\\fR:\n");
        assert_eq!(made("`-1` (fork(2), wait)"), "\\fB\\-1\\fR (fork(2), wait)\n");
        assert_eq!(made("as fork(2), so"), "as\n.Xr fork 2 ,\nso\n");
    }

    #[test]
    fn blocks_become_macros() {
        let text = "One\ntwo.\n\nThree.\n\n- a\n  b\n- c\n\n## See also\n\n```c\nx\n```\n";
        let page = "One\ntwo.\n.Pp\nThree.\n.Bl -bullet\n.It\na\nb\n.It\nc\n.El\n.Sh SEE ALSO\n\
                    .Bd -literal -offset indent\nx\n.Ed\n";
        assert_eq!(made(text), page);
        let table = "| | |\n|---|---|\n| `a` b | c |\n";
        assert_eq!(made(table), ".Bl -tag -width Ds\n.It \\&\\fBa\\fR \\&b\nc\n.El\n");
    }
}
