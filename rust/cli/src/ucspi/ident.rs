//! What the client's host says about a connection: TCPREMOTEINFO, by RFC 1413.

use super::environment::Ends;
use socket2::{Domain, Socket, Type};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const PORT: u16 = 113;
/// As much of an answer is read, and as much of what it says is taken.
const ANSWER: u64 = 4096;
const MOST: usize = 256;

/// Empty if the host says that it does not know; `None` if it says nothing in this time.
pub(super) fn ask(ends: &Ends, limit: Duration) -> Option<Vec<u8>> {
    ask_at(PORT, ends, limit).ok()
}

fn ask_at(port: u16, ends: &Ends, limit: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let (mut local, mut remote) = (ends.local, ends.remote);
    local.set_port(0);
    remote.set_port(port);
    let mut socket = Socket::new(Domain::for_address(local), Type::STREAM, None)?;
    socket.bind(&local.into())?;
    socket.connect_timeout(&SocketAddr::into(remote), left(deadline)?)?;
    socket.set_write_timeout(Some(left(deadline)?))?;
    write!(socket, "{} , {}\r\n", ends.remote.port(), ends.local.port())?;
    let mut line = Vec::new();
    let mut answer = BufReader::new(Timed { socket: &socket, deadline }.take(ANSWER));
    answer.read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(said(&line)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What stands behind the third colon, without spaces.
fn said(line: &[u8]) -> Vec<u8> {
    let behind = line.splitn(4, |byte| *byte == b':').nth(3).unwrap_or_default();
    // An environment has no NUL in it.
    let text = behind.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.iter().copied().filter(|byte| !b" \t\r".contains(byte));
    text.take(MOST).collect()
}

/// Reads while there is time, whatever comes.
struct Timed<'a> {
    socket: &'a Socket,
    deadline: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.deadline)?))?;
        let mut socket = self.socket;
        socket.read(buffer)
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn asked(answer: &'static [u8], limit: Duration) -> (io::Result<Vec<u8>>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let host = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut question = String::new();
            let mut reader = BufReader::new(connection.try_clone().expect("a copy"));
            reader.read_line(&mut question).expect("a question");
            connection.write_all(answer).expect("answered");
            // Until the other end has gone.
            let _ = reader.read_line(&mut String::new());
            question
        });
        let local = "127.0.0.1:25".parse().expect("an address");
        let remote = "127.0.0.1:40312".parse().expect("an address");
        let found = ask_at(address.port(), &Ends { local, remote }, limit);
        (found, host.join().expect("the host"))
    }

    #[test]
    fn the_host_says_whose_connection_it_is() {
        let limit = Duration::from_secs(20);
        let (found, question) = asked(b"40312 , 25 : USERID : UNIX : joe\r\n", limit);
        assert_eq!(found.expect("an answer"), b"joe");
        assert_eq!(question, "40312 , 25\r\n");
        let (found, _) = asked(b"40312 , 25 : ERROR : NO-USER\r\n", limit);
        assert_eq!(found.expect("an answer"), b"");
    }

    #[test]
    fn a_host_that_does_not_finish_is_not_waited_for() {
        let (found, _) = asked(b"40312 , 25 : USERID", Duration::from_millis(300));
        assert!(found.is_err());
    }

    #[test]
    fn what_is_said_fits_into_an_environment() {
        assert_eq!(said(b"1:2:3: a b\tc:d"), b"abc:d");
        assert_eq!(said(b"1:2:3:a\0b"), b"a");
        assert_eq!(said(&[b"1:2:3:".to_vec(), vec![b'x'; 900]].concat()).len(), MOST);
        assert_eq!(said(b"1:2:3"), b"");
    }
}
