//! The system's log, as syslog(3) writes to it: a datagram a message.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

const SOCKET: &str = "/dev/log";

const FACILITIES: [(&str, u8); 18] = [
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("authpriv", 10),
    ("ftp", 11),
    ("cron", 9),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The number of a facility and a level; the error is the word that is none.
pub(crate) fn priority<'a>(facility: &'a str, level: &'a str) -> Result<u8, &'a str> {
    let facility = FACILITIES.iter().find(|(name, _)| *name == facility).ok_or(facility)?.1;
    let level = LEVELS.iter().position(|name| *name == level).ok_or(level)?;
    Ok(facility * 8 + level as u8)
}

/// Writes each message with one priority. The loop never waits for the reader of the log.
pub(crate) struct Syslog {
    socket: UnixDatagram,
    path: PathBuf,
    priority: u8,
}

impl Syslog {
    pub(crate) fn open(priority: u8) -> io::Result<Syslog> {
        Syslog::open_at(PathBuf::from(SOCKET), priority)
    }

    fn open_at(path: PathBuf, priority: u8) -> io::Result<Syslog> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Syslog { socket, path, priority })
    }
}

impl Write for Syslog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let head = format!("<{}>forkserve[{}]: ", self.priority, std::process::id());
        let message = [head.as_bytes(), line.trim_ascii_end()].concat();
        if self.socket.send(&message).is_err() {
            // A reader that was started again has another socket.
            self.socket.connect(&self.path)?;
            self.socket.send(&message)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_was_started_again_is_written_to() {
        let name = format!("forkserve-log-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut log: Option<Syslog> = None;
        for _ in 0..2 {
            let reader = UnixDatagram::bind(&path).expect("a socket");
            let log =
                log.get_or_insert_with(|| Syslog::open_at(path.clone(), 30).expect("connected"));
            log.write_all(b"stopped service=a\n").expect("written");
            let mut buffer = [0; 100];
            let length = reader.recv(&mut buffer).expect("a message");
            let expected = format!("<30>forkserve[{}]: stopped service=a", std::process::id());
            assert_eq!(buffer.get(..length), Some(expected.as_bytes()));
            std::fs::remove_file(&path).expect("removed");
        }
        // Nobody reads: it says so, and does not wait.
        assert!(log.expect("a log").write_all(b"lost\n").is_err());
    }

    #[test]
    fn a_priority_is_a_facility_and_a_level() {
        assert_eq!(priority("daemon", "info"), Ok(30));
        assert_eq!(priority("local7", "debug"), Ok(191));
        assert_eq!(priority("kitchen", "info"), Err("kitchen"));
        assert_eq!(priority("daemon", "loud"), Err("loud"));
    }
}
