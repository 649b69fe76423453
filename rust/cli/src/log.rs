//! One line for each event, for people or for programs.

pub(crate) mod syslog;

use clap::ValueEnum;
use forkserve::{Event, Exit};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// Words and name=value
    Text,
    /// An object on each line
    Json,
    /// Nothing
    Off,
}

/// Is given every event of a service.
pub(crate) type Observer = Box<dyn FnMut(&Event<'_>) + Send>;

type Fields = Vec<(&'static str, Value)>;

impl Log {
    /// Writes each event to `output`, by one call. Where there are several services, each
    /// line names its own. An output that takes nothing is no reason to stop serving.
    pub(crate) fn observer(
        self,
        service: Option<String>,
        mut output: impl Write + Send + 'static,
    ) -> Option<Observer> {
        if self == Log::Off {
            return None;
        }
        Some(Box::new(move |event| {
            if let Some(line) = self.line(service.as_deref(), event) {
                let _ = output.write_all(line.as_bytes());
            }
        }))
    }

    /// Says where scrapers are answered.
    pub(crate) fn metrics(self, address: &str) {
        if let Some(line) = self.written("metrics", vec![("address", address.into())]) {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    fn line(self, service: Option<&str>, event: &Event<'_>) -> Option<String> {
        let (name, more) = taken_apart(event)?;
        let mut fields: Fields = service.map(|id| ("service", id.into())).into_iter().collect();
        fields.extend(more);
        self.written(name, fields)
    }

    fn written(self, name: &str, fields: Fields) -> Option<String> {
        match self {
            Log::Text => Some(text(name, &fields)),
            Log::Json => Some(json(name, fields)),
            Log::Off => None,
        }
    }
}

fn text(name: &str, fields: &Fields) -> String {
    let mut line = name.to_owned();
    for (name, value) in fields {
        // Writing to a string does not fail.
        let _ = match value {
            Value::String(text) if !text.contains([' ', '"', '=']) => {
                write!(line, " {name}={text}")
            }
            value => write!(line, " {name}={value}"),
        };
    }
    line + "\n"
}

fn json(name: &str, fields: Fields) -> String {
    let mut object = Map::new();
    object.insert("event".to_owned(), name.into());
    object.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object).to_string() + "\n"
}

fn seconds(time: Duration) -> Value {
    (time.as_micros() as f64 / 1e6).into()
}

fn about(id: u64, peer: &str) -> Fields {
    vec![("id", id.into()), ("peer", peer.into())]
}

fn with(mut fields: Fields, more: Fields) -> Fields {
    fields.extend(more);
    fields
}

fn error(errno: i32) -> Fields {
    match errno {
        0 => Vec::new(),
        errno => vec![("error", forkserve::strerror(errno).into())],
    }
}

fn how(exit: Exit) -> Fields {
    match exit {
        Exit::Code(code) => vec![("status", code.into())],
        Exit::Signal(signal) => vec![("signal", signal.into())],
        Exit::Unknown => Vec::new(),
    }
}

/// The name of an event and what it tells.
fn taken_apart(event: &Event<'_>) -> Option<(&'static str, Fields)> {
    Some(match *event {
        Event::Listening { address } => ("listening", vec![("address", address.into())]),
        Event::Accepted { id, peer } => ("accepted", about(id, peer)),
        Event::Announced { id, peer } => ("announced", about(id, peer)),
        Event::Forked { id, peer, pid } => {
            ("forked", with(about(id, peer), vec![("pid", pid.into())]))
        }
        Event::ForkFailed { id, peer, errno } => {
            ("fork_failed", with(about(id, peer), error(errno)))
        }
        Event::ExecFailed { id, peer, path, errno } => {
            let fields = with(about(id, peer), vec![("path", path.into())]);
            ("exec_failed", with(fields, error(errno)))
        }
        Event::Held { id, peer } => ("held", about(id, peer)),
        Event::Refused { id, peer, reason } => {
            let fields = with(about(id, peer), vec![("reason", reason.name().into())]);
            ("refused", with(fields, error(reason.errno())))
        }
        Event::HandshakeTimeout { id, peer, pid } => {
            ("handshake_timeout", with(about(id, peer), vec![("pid", pid.into())]))
        }
        Event::Evicted { id, peer, pid } => {
            ("evicted", with(about(id, peer), vec![("pid", pid.into())]))
        }
        Event::SandboxReduced { reason } => {
            ("sandbox_reduced", vec![("reason", reason.name().into())])
        }
        Event::Ended { id, peer, pid, exit, duration, usage } => {
            let fields = with(with(about(id, peer), vec![("pid", pid.into())]), how(exit));
            let used = vec![
                ("seconds", seconds(duration)),
                ("cpu", seconds(usage.user + usage.system)),
                ("rss_kib", usage.max_rss_kib.into()),
            ];
            ("ended", with(fields, used))
        }
        Event::Paused { reason } => {
            ("paused", with(vec![("reason", reason.name().into())], error(reason.errno())))
        }
        Event::Resumed => ("resumed", Vec::new()),
        Event::ListenerFailed { address, errno } => {
            ("listener_failed", with(vec![("address", address.into())], error(errno)))
        }
        Event::SocketFileLeft { address, errno } => {
            ("socket_file_left", with(vec![("address", address.into())], error(errno)))
        }
        Event::NotifyFailed { errno } => ("notify_failed", error(errno)),
        Event::Draining { live } => ("draining", vec![("live", live.into())]),
        Event::Stopped => ("stopped", Vec::new()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_in_words_or_as_an_object() {
        let event = Event::ExecFailed { id: 3, peer: "unix:", path: "/bin/my tool", errno: 2 };
        let (name, fields) = taken_apart(&event).expect("an event");
        assert_eq!(
            text(name, &fields),
            "exec_failed id=3 peer=unix: path=\"/bin/my tool\" error=\"No such file or directory\"\n"
        );
        let line = json(name, fields);
        let object: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(object["event"], "exec_failed");
        assert_eq!(
            (object["id"].as_u64(), object["path"].as_str()),
            (Some(3), Some("/bin/my tool"))
        );
    }
}
