//! Headers of the PROXY protocol, as a proxy may send them, or a client that is taken for one.
//!
//! Compared with the crates `ppp` 2.3.0 and `proxy-header` 0.1.3 on 4,000,000 headers that were
//! nearly right, the parser differs as follows, and nowhere else. What is quoted is
//! proxy-protocol.txt.
//!
//! Version 1:
//! - A port `+80`, `080` or `00`: both take it. "Heading zeroes are not permitted in front of
//!   numbers", and a sign is no decimal integer.
//! - `UNKNOWN` with an empty word, a port of 66766 or a CR behind it: `ppp` or `proxy-header`
//!   refuses it, or waits for more. "The receiver must ignore anything presented before the CRLF
//!   is found."
//! - `PROXY`, CR, `UNKNOWN`: `proxy-header` takes it. "Exactly one space."
//! - A line that cannot become a header and has no CRLF yet: one side refuses at once what the
//!   other refuses later. "The receiver must wait for the CRLF sequence before starting to decode
//!   the addresses"; but "must not tolerate a single CR or LF character to end the line".
//!
//! Version 2:
//! - LOCAL with any family, or with a length that is too short for it: both refuse it, or wait
//!   for more. "The receiver must accept this connection as valid and must use the real
//!   connection endpoints and discard the protocol block including the family which is ignored."
//! - A family with the transport UNSPEC (0x10, 0x20): `ppp` takes its addresses, `proxy-header`
//!   refuses it. "The receiver should ignore address information."
//! - A wrong checksum: both take it. "If it is not, the receiver MUST treat the TCP connection
//!   providing the header as invalid."
//! - TLVs that do not end where the header does, also within that of SSL, which has at least five
//!   bytes, and a unique ID of more than "128 bytes": `ppp` or `proxy-header` takes them.
//! - A command that is not assigned, of which the length is not there yet: both wait for it.
//!   "Receivers must drop connections presenting unexpected values here."
//! - An authority that is not UTF-8: `proxy-header` refuses it. It is "the exact copy" of what a
//!   client has sent as SNI, and "a receiver may choose to skip over and ignore the TLVs it is
//!   not interested in"; so it is handed on as bytes.
//! - AF_UNIX: `proxy-header` has no addresses of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| core::fuzzing::proxy(data));
