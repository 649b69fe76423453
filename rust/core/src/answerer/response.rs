//! A response of HTTP, in memory that there is already.

use crate::answerer::request::Asked;
use crate::metrics::MetricsReader;
use std::fmt::{self, Write};
use std::ops::Range;

/// So much is left in front of the body for the head.
const HEAD: usize = 256;

/// What fits of a text.
struct Into<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Write for Into<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// How many bytes a response takes that has a text of this length.
pub(super) fn room(text: usize) -> usize {
    HEAD + text
}

/// Writes the response, and returns where in `to` it is.
pub(super) fn write(
    to: &mut [u8],
    asked: Asked,
    only_head: bool,
    draining: bool,
    metrics: &MetricsReader,
) -> Range<usize> {
    let (head, room) = to.split_at_mut(HEAD);
    let mut body = Into { bytes: room, length: 0 };
    let written = match asked {
        Asked::Metrics => metrics.write(&mut body),
        Asked::Ready if draining => body.write_str("draining\n"),
        Asked::Ready => body.write_str("ready\n"),
        _ => body.write_str("here are /metrics and /ready\n"),
    };
    let length = body.length;
    let (status, kind) = match asked {
        _ if written.is_err() => ("500 Internal Server Error", PLAIN),
        Asked::Metrics => ("200 OK", OPEN_METRICS),
        Asked::Ready if draining => ("503 Service Unavailable", PLAIN),
        Asked::Ready => ("200 OK", PLAIN),
        Asked::Wrongly => ("405 Method Not Allowed\r\nAllow: GET, HEAD", PLAIN),
        Asked::Nothing => ("404 Not Found", PLAIN),
        Asked::More | Asked::Garbage => ("400 Bad Request", PLAIN),
    };
    let mut before = Into { bytes: head, length: 0 };
    // The longest of them has room.
    let _ = write!(
        before,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    let size = before.length;
    head.copy_within(..size, HEAD - size);
    HEAD - size..if only_head { HEAD } else { HEAD + length }
}

const PLAIN: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
