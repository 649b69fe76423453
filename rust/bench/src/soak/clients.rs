//! The clients at work: threads that block.

use std::io::{Error, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;
use std::thread::scope;

use nix::sys::socket::{setsockopt, sockopt};

use super::manner::Manner;
use super::manner::Manner::{Mute, Polite, Reset, Silent};
use super::server::Seen;
use super::{Manners, LIMIT};
use crate::client::connect_from;

/// Clients at work at any time.
const CLIENTS: usize = 32;

pub(super) struct Clients {
    addr: SocketAddr,
    seed: u64,
    next: AtomicU64,
    pub(super) manners: Mutex<Manners>,
    pub(super) wrong: Mutex<Vec<Complaint>>,
}

/// What a client says that was not served as it should have been.
pub(super) struct Complaint {
    pub(super) text: String,
    /// Its own address, which the server's events call the peer.
    pub(super) client: Option<SocketAddr>,
}

impl Complaint {
    /// With the line in which the server tells how this client's child ended,
    /// if a signal ended it. Of two with one address, the last is taken.
    pub(super) fn with_fate(self, seen: &Seen) -> String {
        let peer = self.client.map(|client| format!("\"peer\": \"{client}\""));
        let killed = peer.and_then(|peer| seen.killed.iter().rfind(|line| line.contains(&peer)));
        match killed {
            Some(line) => format!("{}: {line}", self.text),
            None => format!("{}: no signal ended its child", self.text),
        }
    }
}

impl Clients {
    pub(super) fn new(addr: SocketAddr, seed: u64) -> Clients {
        let (next, manners, wrong) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Clients { addr, seed, next, manners, wrong }
    }

    /// Goes on until `count` connections have been.
    pub(super) fn run(&self, count: u64) {
        scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| self.work(count));
            }
        });
    }

    fn work(&self, count: u64) {
        let mut mine = Manners::new();
        while let Ok(number) =
            self.next.fetch_update(Relaxed, Relaxed, |n| (n < count).then_some(n + 1))
        {
            let manner = Manner::of(self.seed, number);
            *mine.entry(manner).or_default() += 1;
            let stream = connect_from(self.addr, number);
            let client = stream.as_ref().ok().and_then(|stream| stream.local_addr().ok());
            if let Err(e) = stream.and_then(|stream| converse(stream, number, manner)) {
                if let Ok(mut wrong) = self.wrong.lock() {
                    let text = format!("client {number} ({manner:?}): {e}");
                    wrong.push(Complaint { text, client });
                }
            }
        }
        if let Ok(mut all) = self.manners.lock() {
            mine.into_iter().for_each(|(manner, n)| *all.entry(manner).or_default() += n);
        }
    }
}

fn converse(mut stream: TcpStream, number: u64, manner: Manner) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let order = manner.order();
    match manner {
        Silent => return Ok(()),
        Reset => {
            stream.write_all(order)?;
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            return Ok(setsockopt(&stream, sockopt::Linger, &linger)?);
        }
        Polite => {
            let text = format!("{number:->59}");
            stream.write_all(&[order, text.as_bytes()].concat())?;
            let mut echo = [0; 59];
            stream.read_exact(&mut echo)?;
            if echo != *text.as_bytes() {
                return Err(Error::other("wrong echo"));
            }
            stream.shutdown(Shutdown::Write)?;
        }
        Mute => stream.shutdown(Shutdown::Write)?,
        _ => stream.write_all(order)?,
    }
    // Whatever comes: the end must.
    match stream.read_to_end(&mut Vec::new()) {
        Err(e) if e.kind() != std::io::ErrorKind::ConnectionReset => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::thread::spawn;

    #[test]
    fn a_client_that_is_not_answered_as_it_should_be_is_told_of() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = spawn(move || {
            for answer in ["", "1", "2"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut order = [0; 64];
                stream.read_exact(&mut order).unwrap();
                assert_eq!(&order[..5], b"echo\n");
                stream.write_all(format!("{answer:->59}").as_bytes()).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        });
        let ask = |number| converse(TcpStream::connect(addr).unwrap(), number, Polite);
        assert!(ask(7).is_err(), "another's echo");
        assert!(ask(1).is_ok());
        assert!(ask(1).is_err());
        server.join().unwrap();
    }
}
