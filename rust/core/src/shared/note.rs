//! What a child that accepts by itself tells the supervisor, for the observer
//! and for deadlines.

use crate::event::Refusal;
use crate::net::name::{Name, NAME_WORDS};
use crate::sys::channel::{Message, MESSAGE_WORDS};
use crate::sys::process::Usage;
use std::time::Duration;

/// One message of a child.
pub(crate) enum Note {
    /// It took this connection.
    Accepted,
    /// A proxy has named the client of its connection.
    Named,
    /// It took this connection and closed it.
    Refused(Refusal),
    /// It has served this connection and waits again.
    Served { status: i32, duration: Duration, usage: Usage },
}

/// Words in front of the peer's name: kind, child, connection, and five that
/// depend on the kind.
const HEAD: usize = 8;
const _: () = assert!(HEAD + NAME_WORDS <= MESSAGE_WORDS);

impl Note {
    pub(crate) fn encode(&self, child: u64, connection: u64, peer: &Name) -> Message {
        let mut words = [0; MESSAGE_WORDS];
        let micros = |time: Duration| time.as_micros() as u64;
        words[0] = match self {
            Note::Accepted => 0,
            Note::Refused(reason) => {
                words[3] = reason.number() as u64;
                words[4] = reason.errno() as u64;
                1
            }
            Note::Served { status, duration, usage } => {
                words[3] = *status as u64;
                words[4] = micros(*duration);
                words[5] = micros(usage.user);
                words[6] = micros(usage.system);
                words[7] = usage.max_rss_kib;
                2
            }
            Note::Named => 3,
        };
        words[1] = child;
        words[2] = connection;
        words[HEAD..].iter_mut().zip(peer.words()).for_each(|(to, from)| *to = from);
        words
    }

    /// The note, the child that it is of, the connection and its peer. `None`: it is
    /// not a note.
    pub(crate) fn decode(words: &Message) -> Option<(Note, u64, u64, Name)> {
        let note = match words[0] {
            0 => Note::Accepted,
            1 => Note::Refused(Refusal::of_number(words[3], words[4] as i32)?),
            2 => Note::Served {
                status: words[3] as i32 & 0xff,
                duration: Duration::from_micros(words[4]),
                usage: Usage {
                    user: Duration::from_micros(words[5]),
                    system: Duration::from_micros(words[6]),
                    max_rss_kib: words[7],
                },
            },
            3 => Note::Named,
            _ => return None,
        };
        let peer = std::array::from_fn(|index| words[HEAD + index]);
        Some((note, words[1], words[2], Name::from_words(&peer)))
    }
}
