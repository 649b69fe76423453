//! The header as a list of items: a comment, and what it describes.
//!
//! Reads what cbindgen writes, and the header that is made of it. Not a parser
//! of C: each item is a comment and a declaration, and both begin at the margin.

/// One declaration and its comment.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// The text of the comment, without its marks.
    pub(crate) comment: Vec<String>,
    pub(crate) declaration: Vec<String>,
}

impl Item {
    pub(crate) fn is_constant(&self) -> bool {
        self.declaration[0].starts_with("#define")
    }

    /// Neither a type nor a constant.
    pub(crate) fn is_function(&self) -> bool {
        !self.is_constant() && !self.declaration[0].starts_with("typedef")
    }
}

/// The items of a header, in their order. Lines outside of them are passed over.
pub(crate) fn items(text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut comment = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("/*") {
            let mut block = vec![line];
            while !block[block.len() - 1].ends_with("*/") {
                let Some(line) = lines.next() else { break };
                block.push(line);
            }
            comment = plain(&block);
        } else if line.is_empty() {
            comment.clear();
        } else if starts_item(line) {
            let mut declaration = vec![line.to_owned()];
            while !is_whole(&declaration) {
                let Some(line) = lines.next() else { break };
                declaration.push(line.to_owned());
            }
            let name = name(&declaration);
            let comment = std::mem::take(&mut comment);
            items.push(Item { name, comment, declaration });
        }
    }
    items
}

/// The fields of a struct: declaration and comment of each.
pub(crate) fn fields(item: &Item) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut comment = Vec::new();
    let mut inside = Vec::new();
    if !item.declaration[0].ends_with('{') {
        return fields;
    }
    for line in item.declaration[1..item.declaration.len() - 1].iter().map(|line| line.trim()) {
        if line.starts_with("/*") || !inside.is_empty() {
            inside.push(line.trim_start_matches("/*").trim_end_matches("*/").trim());
            if line.ends_with("*/") {
                let text = inside.drain(..).map(|line| line.trim_start_matches('*').trim());
                comment = text.filter(|line| !line.is_empty()).map(str::to_owned).collect();
            }
        } else if let Some(declaration) = line.strip_suffix(';') {
            fields.push((declaration.to_owned(), comment.join(" ")));
        }
    }
    fields
}

fn starts_item(line: &str) -> bool {
    let prose = ["#if", "#endif", "#include", "extern \"C\"", "struct ", "}", " "];
    !prose.iter().any(|start| line.starts_with(start)) && line.contains("forkserve")
        || line.starts_with("#define FORKSERVE_")
}

fn is_whole(declaration: &[String]) -> bool {
    let last = &declaration[declaration.len() - 1];
    if declaration[0].starts_with("#define") {
        return !last.ends_with('\\');
    }
    let all = declaration.concat();
    last.ends_with(';') && all.matches('{').count() == all.matches('}').count()
}

fn name(declaration: &[String]) -> String {
    let (first, last) = (&declaration[0], &declaration[declaration.len() - 1]);
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let found = if first.starts_with("#define") {
        words(first).into_iter().nth(1)
    } else if let Some((_, pointer)) = first.split_once("(*") {
        words(pointer).into_iter().next()
    } else if first.starts_with("typedef") {
        words(last).into_iter().last()
    } else {
        words(first.split('(').next().unwrap_or_default()).into_iter().last()
    };
    found.unwrap_or_default()
}

/// The lines of a comment without its marks.
fn plain(block: &[&str]) -> Vec<String> {
    let text = block.join("\n");
    let text = text.trim_start_matches("/*").trim_end_matches("*/");
    let unmarked = text.lines().map(|line| {
        let bare = line.strip_prefix(" *").unwrap_or(line);
        bare.strip_prefix(' ').unwrap_or(bare).trim_end().to_owned()
    });
    let mut lines: Vec<String> = unmarked.collect();
    while lines.first().is_some_and(String::is_empty) {
        lines.remove(0);
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "#ifndef FORKSERVE_H
#include <stddef.h>

/*
 * A chapter.
 */

/* One. */
#define FORKSERVE_ONE 1

/*
 * A server.
 *
 *   verbatim
 */
typedef struct forkserve_server forkserve_server;

/* A struct. */
typedef struct forkserve_stats {
    /* Its size. */
    size_t size;
} forkserve_stats;

/* A callback. */
typedef int (*forkserve_handler)(const struct forkserve_conn *conn, void *userdata);

/* Two lines. */
int forkserve_server_run(struct forkserve_server *s,
                         void *userdata);
const char *forkserve_strerror(int code);
";

    #[test]
    fn a_header_is_taken_apart() {
        let items = items(HEADER);
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        let expected = [
            "FORKSERVE_ONE",
            "forkserve_server",
            "forkserve_stats",
            "forkserve_handler",
            "forkserve_server_run",
            "forkserve_strerror",
        ];
        assert_eq!(names, expected);
        assert_eq!(items[0].comment, ["One."]);
        assert_eq!(items[1].comment, ["A server.", "", "  verbatim"]);
        assert_eq!(items[2].declaration.len(), 4);
        assert_eq!(items[4].declaration.len(), 2);
        assert!(items[4].is_function() && !items[3].is_function() && items[0].is_constant());
        assert_eq!(items[5].comment, [""; 0]);
        assert_eq!(fields(&items[2]), [("size_t size".to_owned(), "Its size.".to_owned())]);
        assert_eq!(fields(&items[1]), []);
    }
}
