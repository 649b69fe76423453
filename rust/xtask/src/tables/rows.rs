//! The rows of the core's tables, as data.

/// An option.
pub(crate) struct Row {
    pub(crate) topic: &'static str,
    pub(crate) name: &'static str,
    c_name: Option<&'static str>,
    docs: &'static [&'static str],
    pub(crate) kind: Kind,
    notes: &'static [(&'static str, &'static str)],
}

/// What it can be. Times in milliseconds.
pub(crate) enum Kind {
    Number { least: u64, most: u64, default: u64 },
    Flag { default: bool },
    Time { least: u64, most: u64, default: u64 },
    Limit { none: i64, most: u64, meaning: &'static str, default: Option<u64> },
    Bytes { most: u64 },
    Choice { choice: &'static Choice },
    Networks,
    Statuses,
    Mode,
    Account,
    Signed { least: i64, most: i64, default: i64 },
    Setting { none: i64, least: i64, most: i64, meaning: &'static str },
    Text { example: &'static str },
    Path,
    Paths,
}

/// The words of an option that is one of a few; the first is the default.
pub(crate) struct Choice {
    name: &'static str,
    pub(crate) variants: &'static [Variant],
}

pub(crate) struct Variant {
    name: &'static str,
    pub(crate) word: &'static str,
    docs: &'static [&'static str],
}

/// Why a connection was refused, or accepting paused.
pub(crate) struct Reason {
    pub(crate) name: &'static str,
    pub(crate) number: i32,
    docs: &'static [&'static str],
    pub(crate) words: &'static str,
    pub(crate) refused: bool,
    pub(crate) paused: bool,
    pub(crate) renewed: bool,
    pub(crate) errno: bool,
}

/// A counter; the histogram is the last.
pub(crate) struct Counter {
    pub(crate) name: &'static str,
    pub(crate) c_name: &'static str,
    docs: &'static [&'static str],
    pub(crate) since: &'static str,
    pub(crate) histogram: bool,
}

macro_rules! kind {
    (number ($least:tt, $most:tt) $default:tt) => {
        Kind::Number { least: $least, most: $most, default: $default }
    };
    (flag () $default:tt) => {
        Kind::Flag { default: $default }
    };
    (time ($least:tt, $most:tt) $default:tt) => {
        Kind::Time { least: $least, most: $most, default: $default }
    };
    (limit ($none:expr, $most:tt, $meaning:tt) None) => {
        Kind::Limit { none: $none, most: $most, meaning: $meaning, default: None }
    };
    (limit ($none:expr, $most:tt, $meaning:tt) $default:tt) => {
        Kind::Limit { none: $none, most: $most, meaning: $meaning, default: Some($default) }
    };
    (bytes ($most:tt) none) => {
        Kind::Bytes { most: $most }
    };
    (choice ($choice:ident) $default:ident) => {
        Kind::Choice { choice: choice(stringify!($choice), stringify!($default)) }
    };
    (networks () none) => {
        Kind::Networks
    };
    (statuses () none) => {
        Kind::Statuses
    };
    (mode () none) => {
        Kind::Mode
    };
    (signed ($least:literal, $most:literal) $default:tt) => {
        Kind::Signed { least: $least, most: $most, default: $default }
    };
    (setting ($none:literal, $least:literal, $most:literal, $meaning:tt) none) => {
        Kind::Setting { none: $none, least: $least, most: $most, meaning: $meaning }
    };
    (text ($type:ident, $example:tt) none) => {
        Kind::Text { example: $example }
    };
    (paths () none) => {
        Kind::Paths
    };
    (path () none) => {
        Kind::Path
    };
    (account () none) => {
        Kind::Account
    };
}

macro_rules! options {
    ($($topic:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident $(as $c_name:ident)?: $kind:ident $arguments:tt = $default:tt
            $(, $word:ident $text:literal)*;
    )*})*) => {
        /// The options, in the order of the table.
        pub(crate) fn options() -> Vec<Row> {
            vec![$($(Row {
                topic: $topic,
                name: stringify!($name),
                c_name: [$(stringify!($c_name),)?].first().copied(),
                docs: &[$($doc,)+],
                kind: kind!($kind $arguments $default),
                notes: &[$((stringify!($word), $text),)*],
            },)*)*]
        }
    };
}

macro_rules! choices {
    ($(
        $(#[doc = $about:literal])+
        $choice:ident { $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+ }
    )*) => {
        static CHOICES: &[Choice] = &[$(Choice {
            name: stringify!($choice),
            variants: &[$(Variant {
                name: stringify!($variant),
                word: $word,
                docs: &[$($doc,)+],
            },)+],
        },)*];
    };
}

macro_rules! reasons {
    (
        refused and paused {$(
            $(#[doc = $both_doc:literal])+
            $both:ident = $both_number:literal, $refusal:ident $(($errno:ident))? and $pause:ident,
                $(counted $both_counter:ident,)? words $both_words:literal;
        )*}
        refused {$(
            $(#[doc = $refused_doc:literal])+
            $refused:ident = $refused_number:literal, $only_refusal:ident $(($only_errno:ident))?,
                $(counted $counter:ident,)? words $refused_words:literal;
        )*}
        paused {$(
            $(#[doc = $paused_doc:literal])+
            $paused:ident = $paused_number:literal, $only_pause:ident $(($pause_errno:ident))?,
                words $paused_words:literal;
        )*}
        renewed {$(
            $(#[doc = $renewed_doc:literal])+
            $renewed:ident = $renewed_number:literal, $renewal:ident,
                words $renewed_words:literal;
        )*}
        reduced {$(
            $(#[doc = $reduced_doc:literal])+
            $reduced:ident = $reduced_number:literal, $reduction:ident,
                words $reduced_words:literal;
        )*}
    ) => {
        /// The reasons, in the order of their numbers.
        pub(crate) fn reasons() -> Vec<Reason> {
            let mut reasons = vec![
                $(Reason {
                    name: stringify!($both),
                    number: $both_number,
                    docs: &[$($both_doc,)+],
                    words: $both_words,
                    refused: true,
                    paused: true,
                    renewed: false,
                    errno: !<[&str]>::is_empty(&[$(stringify!($errno),)?]),
                },)*
                $(Reason {
                    name: stringify!($refused),
                    number: $refused_number,
                    docs: &[$($refused_doc,)+],
                    words: $refused_words,
                    refused: true,
                    paused: false,
                    renewed: false,
                    errno: !<[&str]>::is_empty(&[$(stringify!($only_errno),)?]),
                },)*
                $(Reason {
                    name: stringify!($paused),
                    number: $paused_number,
                    docs: &[$($paused_doc,)+],
                    words: $paused_words,
                    refused: false,
                    paused: true,
                    renewed: false,
                    errno: !<[&str]>::is_empty(&[$(stringify!($pause_errno),)?]),
                },)*
                $(Reason {
                    name: stringify!($renewed),
                    number: $renewed_number,
                    docs: &[$($renewed_doc,)+],
                    words: $renewed_words,
                    refused: false,
                    paused: false,
                    renewed: true,
                    errno: false,
                },)*
                $(Reason {
                    name: stringify!($reduced),
                    number: $reduced_number,
                    docs: &[$($reduced_doc,)+],
                    words: $reduced_words,
                    refused: false,
                    paused: false,
                    renewed: false,
                    errno: false,
                },)*
            ];
            reasons.sort_by_key(|reason| reason.number);
            reasons
        }
    };
}

macro_rules! counters {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $(#[doc = $about:literal])+ $durations:ident as $c_name:ident, since $first:literal;
    ) => {
        /// The counters, in the order of the table.
        pub(crate) fn counters() -> Vec<Counter> {
            vec![
                $(Counter {
                    name: stringify!($name),
                    c_name: stringify!($name),
                    docs: &[$($doc,)+],
                    since: $since,
                    histogram: false,
                },)*
                Counter {
                    name: stringify!($durations),
                    c_name: stringify!($c_name),
                    docs: &[$($about,)+],
                    since: $first,
                    histogram: true,
                },
            ]
        }
    };
}

forkserve::options_table!(options);
forkserve::choices_table!(choices);
forkserve::reasons_table!(reasons);
forkserve::counters_table!(counters);

fn choice(name: &str, default: &str) -> &'static Choice {
    let found = CHOICES.iter().find(|choice| choice.name == name);
    let found = found.unwrap_or_else(|| panic!("choices_table has no {name}"));
    assert_eq!(found.variants[0].name, default, "{name}: the default is not the first");
    found
}

/// All choices, in the order of the table.
pub(crate) fn choices() -> &'static [Choice] {
    CHOICES
}

/// A description as one line.
fn joined(docs: &[&str]) -> String {
    docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

impl Row {
    pub(crate) fn c_name(&self) -> &'static str {
        self.c_name.unwrap_or(self.name)
    }

    fn note(&self, word: &str) -> Option<&'static str> {
        self.notes.iter().find(|(known, _)| *known == word).map(|(_, text)| *text)
    }

    pub(crate) fn since(&self) -> &'static str {
        self.note("since").unwrap_or_else(|| panic!("{}: no `since`", self.name))
    }

    /// Whether the drop-ins for socketserver take it.
    pub(crate) fn is_for_dropins(&self) -> bool {
        self.note("dropins") != Some("no")
    }

    /// The description with Markdown's marks, and what is added to it in one language.
    pub(crate) fn about(&self, language: &str) -> String {
        let more = self.note(language).map(|text| format!(" {text}")).unwrap_or_default();
        joined(self.docs) + &more
    }

    /// Its first sentence, without the full stop.
    pub(crate) fn first_sentence(&self) -> String {
        let about = joined(self.docs);
        let end = about.find(". ").unwrap_or(about.len() - 1);
        about[..end].to_owned()
    }
}

impl Choice {
    /// What the constants of C begin with: `FORKSERVE_AT_CAPACITY_`.
    pub(crate) fn c_prefix(&self) -> String {
        format!("FORKSERVE{}_", constant(self.name))
    }
}

/// `EvictSource` as `_EVICT_SOURCE`.
fn constant(name: &str) -> String {
    let mut constant = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            constant.push('_');
        }
        constant.push(letter.to_ascii_uppercase());
    }
    constant
}

impl Variant {
    pub(crate) fn c_suffix(&self) -> String {
        constant(self.name).split_off(1)
    }

    pub(crate) fn about(&self) -> String {
        joined(self.docs)
    }
}

impl Reason {
    pub(crate) fn about(&self) -> String {
        joined(self.docs)
    }

    pub(crate) fn c_name(&self) -> String {
        format!("FORKSERVE_REASON_{}", self.name.to_ascii_uppercase())
    }
}

impl Counter {
    pub(crate) fn about(&self) -> String {
        joined(self.docs)
    }
}
