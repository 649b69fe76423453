//! Which metrics there are. Each counter of `counters_table` is one, or a label of one, by
//! its name: a row that comes to the table is told without a line here.

use crate::counters::Counter;
use crate::metrics::Part;

/// A metric, or several that differ in one label.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name; a sample of a counter has `_total` behind it.
    pub name: &'static str,
    /// Of a counter of the table: what is in front of its name, which is `name` then.
    pub prefix: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The label, if there is one.
    pub label: &'static str,
    /// What it tells, in lines, with names in backticks.
    pub about: &'static [&'static str],
    pub(super) group: Group,
}

/// Where its numbers come from.
#[derive(Clone, Copy)]
pub(super) enum Group {
    /// A word of the scoreboard that only grows.
    Total(Counter),
    Refused,
    Ended,
    Connections,
    Children,
    Durations,
    Limit,
    Draining,
    Queue(&'static str, Part),
}

/// A row of the table of counters.
struct Row {
    name: &'static str,
    /// None for what is counted when it is asked for.
    words: &'static [Counter],
    about: &'static [&'static str],
}

macro_rules! rows {
    (
        $($(#[doc = $doc:literal])+ $name:ident $(= $word:ident)?, since $since:literal;)*
        histogram $($rest:tt)*
    ) => {
        static ROWS: &[Row] = &[$(Row {
            name: stringify!($name),
            words: &[$(Counter::$word,)?],
            about: &[$($doc,)+],
        },)*];
    };
}

crate::counters_table!(rows);

/// The part of [`REASON`] that names the reason.
const REASON: &str = "refused_";
/// How a connection ended, by the rows that say so.
const OUTCOMES: [&str; 3] = ["failed", "crashed", "unknown"];
/// Rows that are told in a family below.
const ELSEWHERE: [&str; 5] = ["accepted", "ended", "refused", "held", "duration_us_sum"];

/// The reasons for refusals that have a counter each.
pub(super) fn reasons() -> impl Iterator<Item = (&'static str, Counter)> {
    ROWS.iter().filter_map(|row| Some((row.name.strip_prefix(REASON)?, *row.words.first()?)))
}

/// The outcomes that have a counter each.
pub(super) fn outcomes() -> impl Iterator<Item = (&'static str, Counter)> {
    let named = ROWS.iter().filter(|row| OUTCOMES.contains(&row.name));
    named.filter_map(|row| Some((row.name, *row.words.first()?)))
}

impl Row {
    /// The family of a counter that is told by itself.
    fn family(&self) -> Option<Family> {
        let (name, about) = (self.name, self.about);
        let part = name.starts_with(REASON) || OUTCOMES.contains(&name);
        let group = Group::Total(*self.words.first()?);
        (!part && !ELSEWHERE.contains(&name)).then_some(Family {
            prefix: "forkserve_",
            name,
            kind: "counter",
            label: "",
            about,
            group,
        })
    }
}

/// All families, in the order in which they are told.
pub fn families() -> impl Iterator<Item = Family> {
    FAMILIES.iter().copied().chain(ROWS.iter().filter_map(Row::family))
}

const fn family(
    name: &'static str,
    kind: &'static str,
    label: &'static str,
    about: &'static [&'static str],
    group: Group,
) -> Family {
    Family { prefix: "", name, kind, label, about, group }
}

static FAMILIES: &[Family] = &[
    family(
        "forkserve_connections_accepted",
        "counter",
        "",
        &["Connections taken from the kernel."],
        Group::Total(Counter::Accepted),
    ),
    family(
        "forkserve_connections_refused",
        "counter",
        "reason",
        &["Connections closed without being served, by the reason of the event."],
        Group::Refused,
    ),
    family(
        "forkserve_connections_ended",
        "counter",
        "outcome",
        &[
            "Connections that were served to their end: ok, failed (an exit status other than 0),",
            "crashed (a signal ended the child) or unknown.",
        ],
        Group::Ended,
    ),
    family(
        "forkserve_connections",
        "gauge",
        "state",
        &[
            "Connections that are being served, in their handshake or established, and those held",
            "because no child can be made.",
        ],
        Group::Connections,
    ),
    family(
        "forkserve_connection_duration_seconds",
        "histogram",
        "",
        &["How long the connections lasted that have ended."],
        Group::Durations,
    ),
    family(
        "forkserve_children",
        "gauge",
        "state",
        &["Children that live; an idle one waits for a connection, an ending one takes no other."],
        Group::Children,
    ),
    family(
        "forkserve_children_limit",
        "gauge",
        "",
        &["How many children may live at once: `max_children`."],
        Group::Limit,
    ),
    family(
        "forkserve_draining",
        "gauge",
        "",
        &["1 once a drain has begun, and 0 before."],
        Group::Draining,
    ),
    family(
        "forkserve_accept_queue_length",
        "gauge",
        "listener",
        &["Connections that wait in the kernel's queue of a listener."],
        Group::Queue("", |queue| Some(queue.length)),
    ),
    family(
        "forkserve_accept_queue_limit",
        "gauge",
        "listener",
        &["For how many connections that queue has room."],
        Group::Queue("", |queue| Some(queue.limit)),
    ),
    family(
        "forkserve_accept_queue_drops",
        "counter",
        "listener",
        &["Connections that the kernel has dropped at a listener, as for a full queue. TCP only."],
        Group::Queue("_total", |queue| queue.drops),
    ),
];
