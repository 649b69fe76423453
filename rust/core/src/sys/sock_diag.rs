//! How full the queues of listeners are, by sock_diag(7): of any process, and from any
//! process of the same network. Allocates nothing, and waits for nothing.

use super::{check, own};
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Which socket is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketId {
    pub(crate) family: libc::c_int,
    /// Of one that has a port.
    pub(crate) port: u16,
    pub(crate) inode: u32,
}

/// What the kernel says of the queue of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Connections that wait in it.
    pub(crate) length: u32,
    /// For how many there is room.
    pub(crate) limit: u32,
    /// Connections that were dropped at it. TCP only.
    pub(crate) drops: Option<u32>,
}

const BY_FAMILY: u16 = 20;
const HEADER: usize = 16;
const LISTEN: u32 = 10;
/// Extensions and attributes of both families.
const MEMORY: u16 = 7;
const DROPS: usize = 8;
const QUEUE: u16 = 4;
const SHOW_QUEUE: u32 = 0x10;
const NO_COOKIE: [u8; 8] = [0xff; 8];
const INET: usize = 72;
const UNIX: usize = 16;
/// More messages than this for one question are none of the kernel's.
const MOST: usize = 10_000;

/// The inode of a socket; 0 if it is not to be had.
pub(crate) fn inode(fd: BorrowedFd<'_>) -> u32 {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `stat` is a valid place for the result.
    unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) };
    // SAFETY: zeroed above and perhaps filled by the kernel; all-zero is valid.
    unsafe { stat.assume_init() }.st_ino as u32
}

/// A socket by which the kernel is asked.
pub(crate) struct SockDiag(OwnedFd);

impl SockDiag {
    pub(crate) fn new() -> Result<SockDiag, Errno> {
        const NETLINK_SOCK_DIAG: libc::c_int = 4;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes no pointers.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, NETLINK_SOCK_DIAG) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(SockDiag(unsafe { own(fd) }))
    }

    /// What is to be known of the listener; `None`: it does not listen, or not here.
    pub(crate) fn queue(&self, of: SocketId) -> Option<Queue> {
        let mut request = [0; HEADER + 56];
        let size = question(of, &mut request)?;
        let (start, flags) = (request.as_ptr().cast(), libc::MSG_DONTWAIT);
        // SAFETY: `request` is readable for `size` bytes.
        if unsafe { libc::send(self.0.as_raw_fd(), start, size, flags) } != size as isize {
            return None;
        }
        let mut found = None;
        let mut buffer = [0_u8; 16384];
        for _ in 0..MOST {
            let (start, flags) = (buffer.as_mut_ptr().cast(), libc::MSG_DONTWAIT);
            // SAFETY: `buffer` is writable for its length.
            let got = unsafe { libc::recv(self.0.as_raw_fd(), start, buffer.len(), flags) };
            let Ok(got) = usize::try_from(got) else { break };
            if look(&buffer[..got], of, &mut found) {
                break;
            }
        }
        found
    }
}

/// Writes the question, and returns its length.
fn question(of: SocketId, to: &mut [u8; HEADER + 56]) -> Option<usize> {
    let mut put = |at: usize, bytes: &[u8]| to[HEADER + at..][..bytes.len()].copy_from_slice(bytes);
    put(0, &[of.family as u8]);
    let (length, dump) = match of.family {
        libc::AF_UNIX => {
            put(4, &(1_u32 << LISTEN).to_ne_bytes());
            put(8, &of.inode.to_ne_bytes());
            put(12, &SHOW_QUEUE.to_ne_bytes());
            put(16, &NO_COOKIE);
            (24, 0)
        }
        libc::AF_INET | libc::AF_INET6 => {
            put(1, &[libc::IPPROTO_TCP as u8, 1 << (MEMORY - 1)]);
            put(4, &(1_u32 << LISTEN).to_ne_bytes());
            put(8, &of.port.to_be_bytes());
            put(48, &NO_COOKIE);
            // All listeners at this port: there may be several, and one is asked for.
            (56, libc::NLM_F_DUMP)
        }
        _ => return None,
    };
    let size = HEADER + length;
    to[..4].copy_from_slice(&(size as u32).to_ne_bytes());
    to[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    to[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | dump) as u16).to_ne_bytes());
    Some(size)
}

/// Looks for the listener in what was received; true at the end.
fn look(mut bytes: &[u8], of: SocketId, found: &mut Option<Queue>) -> bool {
    while let (Some(length), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        let length = length as usize;
        if length < HEADER || length > bytes.len() || kind != BY_FAMILY {
            return true;
        }
        let body = &bytes[HEADER..length];
        let single = of.family == libc::AF_UNIX;
        let queue = if single { of_unix(body, of.inode) } else { of_inet(body, of.inode) };
        *found = found.or(queue);
        if single {
            return true;
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn of_inet(body: &[u8], inode: u32) -> Option<Queue> {
    if word(body, 68)? != inode {
        return None;
    }
    let drops = attribute(body.get(INET..)?, MEMORY).and_then(|memory| word(memory, 4 * DROPS));
    Some(Queue { length: word(body, 56)?, limit: word(body, 60)?, drops })
}

fn of_unix(body: &[u8], inode: u32) -> Option<Queue> {
    if word(body, 4)? != inode || u32::from(*body.get(2)?) != LISTEN {
        return None;
    }
    let queue = attribute(body.get(UNIX..)?, QUEUE)?;
    Some(Queue { length: word(queue, 0)?, limit: word(queue, 4)?, drops: None })
}

/// What an attribute of this kind has.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, kind) = (usize::from(half(bytes, 0)?), half(bytes, 2)?);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    #[cfg_attr(miri, ignore = "no netlink")]
    fn the_queue_of_one_listener_among_others_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = tcp.local_addr().expect("address");
        let _other = TcpListener::bind(("127.0.0.2", address.port()));
        let _clients = [(); 2].map(|()| TcpStream::connect(address).expect("connected"));
        let id = |family, port, fd: BorrowedFd<'_>| SocketId { family, port, inode: inode(fd) };
        let diag = SockDiag::new().expect("netlink");
        let of_tcp = id(libc::AF_INET, address.port(), tcp.as_fd());
        let queue = diag.queue(of_tcp).expect("found");
        assert_eq!((queue.length, queue.drops), (2, Some(0)));
        assert!(queue.limit >= 128);
        assert_eq!(diag.queue(SocketId { inode: 1, ..of_tcp }), None);

        let path = std::env::temp_dir().join(format!("forkserve-diag-{}", std::process::id()));
        let unix = UnixListener::bind(&path).expect("bound");
        let _client = UnixStream::connect(&path).expect("connected");
        std::fs::remove_file(&path).expect("removed");
        let of_unix = id(libc::AF_UNIX, 0, unix.as_fd());
        assert_eq!(diag.queue(of_unix).map(|queue| queue.length), Some(1));
        assert_eq!(diag.queue(SocketId { inode: 1, ..of_unix }), None);
        assert_eq!(diag.queue(of_tcp).map(|queue| queue.length), Some(2), "asked again");
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        let id = SocketId { family: libc::AF_INET, port: 1, inode: 7 };
        let mut whole = vec![0; HEADER + INET];
        whole[..4].copy_from_slice(&((HEADER + INET) as u32).to_ne_bytes());
        whole[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        whole[HEADER + 68..].copy_from_slice(&7_u32.to_ne_bytes());
        for end in 0..whole.len() {
            let mut found = None;
            look(&whole[..end], id, &mut found);
            assert_eq!(found, None);
        }
        let mut found = None;
        assert!(!look(&whole, id, &mut found), "more may come");
        assert_eq!(found, Some(Queue { length: 0, limit: 0, drops: None }));
    }
}
