//! Whether a descriptor is still what it was.

use super::raw;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// Whether `fd` is a socket with the address `local` (a `struct sockaddr`). A
/// handler may have closed its connection, and the number may mean another
/// socket by now, which other processes have too. In a child: see `raw`.
#[inline(always)]
pub(crate) fn has_address(fd: RawFd, local: &[u8]) -> bool {
    const WORDS: usize = size_of::<libc::sockaddr_storage>() / 8;
    let mut address = [const { MaybeUninit::<u64>::uninit() }; WORDS];
    let mut len = (8 * WORDS) as libc::socklen_t;
    let args = [fd as usize, address.as_mut_ptr() as usize, (&raw mut len) as usize];
    // SAFETY: `address` has `len` writable bytes; the kernel updates `len`.
    if unsafe { raw::call(libc::SYS_getsockname, args) } != 0 {
        return false;
    }
    let len = (len as usize).min(8 * WORDS);
    // SAFETY: the kernel has written `len` bytes.
    let address = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), len) };
    // Byte by byte: `memcmp` is a page that a new child would have to fault in.
    let same = |range: std::ops::Range<usize>| {
        let (a, b) = (address.get(range.clone()), local.get(range));
        matches!((a, b), (Some(a), Some(b)) if a.iter().zip(b).all(|(a, b)| a == b))
    };
    let family = address.first_chunk().map_or(0, |family| u16::from_ne_bytes(*family));
    match libc::c_int::from(family) {
        // Family, port and address; of IPv6 neither flow nor interface.
        libc::AF_INET => same(0..8),
        libc::AF_INET6 => same(0..4) && same(8..24),
        _ => address.len() == local.len() && same(0..len),
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;
    use crate::sys::socket;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_connection_is_known_by_its_own_address() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(place) else { continue };
            let client = TcpStream::connect(listener.local_addr().expect("bound"));
            let client = client.expect("connects");
            let server = listener.accept().expect("accepts").0;
            let local = socket::local_address(server.as_fd()).expect("an address");
            assert!(has_address(server.as_raw_fd(), local.bytes()));
            assert!(!has_address(client.as_raw_fd(), local.bytes()));
            assert!(!has_address(-1, local.bytes()));
            let file = std::fs::File::open("/dev/null").expect("opens");
            assert!(!has_address(file.as_raw_fd(), local.bytes()));
        }
    }

    #[test]
    fn a_unix_connection_is_known_from_a_pair() {
        let path = std::env::temp_dir().join(format!("forkserve-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("binds");
        let _client = UnixStream::connect(&path).expect("connects");
        let server = listener.accept().expect("accepts").0;
        std::fs::remove_file(&path).expect("removed");
        let local = socket::local_address(listener.as_fd()).expect("an address");
        assert!(has_address(server.as_raw_fd(), local.bytes()));
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(!has_address(one.as_raw_fd(), local.bytes()));
    }
}
