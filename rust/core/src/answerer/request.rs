//! A request of HTTP: as much of it as there is to understand here.

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Its head has not come to its end.
    More,
    Metrics,
    /// Whether clients are to be sent here.
    Ready,
    Nothing,
    /// By another method than GET and HEAD.
    Wrongly,
    /// It is no request.
    Garbage,
}

/// Reads what has come so far; the second: only the head of the response is wanted.
pub(super) fn read(bytes: &[u8]) -> (Asked, bool) {
    let Some(end) = find(bytes, b"\n") else {
        return (if could_be_one(bytes) { Asked::More } else { Asked::Garbage }, false);
    };
    let line = bytes[..end].trim_ascii_end();
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(path), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return (Asked::Garbage, false);
    };
    if !version.starts_with(b"HTTP/1.") || !method.iter().all(u8::is_ascii_uppercase) {
        return (Asked::Garbage, false);
    }
    if find(bytes, b"\r\n\r\n").or_else(|| find(bytes, b"\n\n")).is_none() {
        return (Asked::More, false);
    }
    let head = method == b"HEAD";
    if method != b"GET" && !head {
        return (Asked::Wrongly, false);
    }
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let asked = match path {
        b"/metrics" => Asked::Metrics,
        b"/ready" => Asked::Ready,
        _ => Asked::Nothing,
    };
    (asked, head)
}

/// Whether a request may begin like that: TLS, say, does not.
fn could_be_one(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\r')
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_its_head_is_there() {
        let whole = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), (Asked::More, false), "{end}");
        }
        assert_eq!(read(whole), (Asked::Metrics, false));
        assert_eq!(read(b"HEAD /ready HTTP/1.0\n\n"), (Asked::Ready, true));
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\nmore"), (Asked::Nothing, false));
        assert_eq!(read(b"GET /metricsx HTTP/1.1\r\n\r\n"), (Asked::Nothing, false));
        assert_eq!(read(b"POST /metrics HTTP/1.1\r\n\r\n"), (Asked::Wrongly, false));
    }

    #[test]
    fn what_is_no_request_is_told_at_once() {
        for garbage in [
            &b"\x16\x03\x01"[..],
            b"\n",
            b"GET /metrics\r\n",
            b"GET /metrics HTTP/2\r\n",
            b"GET  /metrics HTTP/1.1\r\n",
            b"get /metrics HTTP/1.1\r\n",
        ] {
            assert_eq!(read(garbage), (Asked::Garbage, false), "{garbage:?}");
        }
    }
}
