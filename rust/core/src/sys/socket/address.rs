//! Socket addresses, and the calls that give those of a socket.

use crate::sys::check;
use nix::errno::Errno;
use std::mem::{offset_of, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A socket address as the kernel gives and takes it.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

/// The address families that the library tells apart.
pub(crate) enum Parts<'a> {
    V4([u8; 4], u16),
    /// Address, port, scope (interface) number.
    V6([u8; 16], u16, u32),
    /// The bytes of `sun_path` that the kernel counted: empty when unnamed,
    /// led by a NUL when abstract.
    Unix(&'a [u8]),
    Other(u16),
}

const PATH_AT: usize = offset_of!(libc::sockaddr_un, sun_path);

impl RawAddress {
    pub(crate) fn empty() -> RawAddress {
        // SAFETY: all-zero bytes are a valid sockaddr_storage.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        RawAddress { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    pub(crate) fn from_ip(address: &SocketAddr) -> RawAddress {
        let mut raw = RawAddress::empty();
        match address {
            SocketAddr::V4(v4) => raw.put(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => raw.put(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
        raw
    }

    /// `path` is the content of `sun_path`: a file name, or a NUL and an
    /// abstract name. `None` when it does not fit.
    pub(crate) fn from_unix(path: &[u8]) -> Option<RawAddress> {
        let mut raw = RawAddress::empty();
        // A file name keeps its NUL at the end, as unix(7) advises.
        let room = size_of::<libc::sockaddr_un>() - PATH_AT;
        let named = path.first().is_some_and(|&b| b != 0);
        if path.len() + usize::from(named) > room {
            return None;
        }
        raw.storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        raw.bytes_mut()[PATH_AT..PATH_AT + path.len()].copy_from_slice(path);
        raw.len = (PATH_AT + path.len() + usize::from(named)) as libc::socklen_t;
        Some(raw)
    }

    /// The same of a name that another machine has told: one without room for its NUL has none,
    /// and what does not fit at all is cut.
    pub(crate) fn of_path(path: &[u8]) -> RawAddress {
        let room = size_of::<libc::sockaddr_un>() - PATH_AT;
        let path = &path[..path.len().min(room)];
        RawAddress::from_unix(path).unwrap_or_else(|| {
            let mut raw = RawAddress::empty();
            raw.storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
            raw.bytes_mut()[PATH_AT..PATH_AT + path.len()].copy_from_slice(path);
            raw.len = (PATH_AT + path.len()) as libc::socklen_t;
            raw
        })
    }

    /// Stores a family's own struct at the start of the storage.
    fn put<T>(&mut self, value: T) {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        // SAFETY: it fits (asserted above) and sockaddr_storage is aligned for
        // every family's struct.
        unsafe { (&raw mut self.storage).cast::<T>().write(value) };
        self.len = size_of::<T>() as libc::socklen_t;
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the storage is plain bytes, all of them initialised.
        unsafe {
            std::slice::from_raw_parts_mut(
                (&raw mut self.storage).cast(),
                size_of::<libc::sockaddr_storage>(),
            )
        }
    }

    /// The bytes that the kernel filled.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = (self.len as usize).min(size_of::<libc::sockaddr_storage>());
        // SAFETY: the storage is plain bytes, all of them initialised.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), len) }
    }

    pub(crate) fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn parts(&self) -> Parts<'_> {
        match self.family() {
            libc::AF_INET => {
                let (ip, port) = self.v4().unwrap_or_default();
                Parts::V4(ip, port)
            }
            libc::AF_INET6 => {
                // SAFETY: the family says what the storage holds.
                let v6 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                Parts::V6(v6.sin6_addr.s6_addr, u16::from_be(v6.sin6_port), v6.sin6_scope_id)
            }
            libc::AF_UNIX => {
                let path = self.bytes().get(PATH_AT..).unwrap_or_default();
                // The kernel counts the NUL that ends a file name.
                let path = match path {
                    [name @ .., 0] if name.first().is_some_and(|&b| b != 0) => name,
                    other => other,
                };
                Parts::Unix(path)
            }
            other => Parts::Other(other as u16),
        }
    }

    /// Address and port, if it is of IPv4.
    pub(crate) fn v4(&self) -> Option<([u8; 4], u16)> {
        if self.family() != libc::AF_INET {
            return None;
        }
        // SAFETY: the family says what the storage holds.
        let v4 = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
        Some((v4.sin_addr.s_addr.to_ne_bytes(), u16::from_be(v4.sin_port)))
    }

    /// Whether it stands for every address of the machine.
    pub(crate) fn is_wildcard(&self) -> bool {
        match self.parts() {
            Parts::V4(ip, _) => ip == [0; 4],
            Parts::V6(ip, ..) => ip == [0; 16],
            _ => false,
        }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        match self.parts() {
            Parts::V4(_, port) | Parts::V6(_, port, _) => Some(port),
            _ => None,
        }
    }
}

pub(crate) fn local_address(fd: BorrowedFd<'_>) -> Result<RawAddress, Errno> {
    let mut local = RawAddress::empty();
    // SAFETY: the storage has `len` writable bytes; the kernel updates `len`.
    check(unsafe {
        libc::getsockname(fd.as_raw_fd(), (&raw mut local.storage).cast(), &mut local.len)
    })?;
    Ok(local)
}

pub(crate) fn peer_address(fd: BorrowedFd<'_>) -> Result<RawAddress, Errno> {
    let mut peer = RawAddress::empty();
    // SAFETY: the storage has `len` writable bytes; the kernel updates `len`.
    check(unsafe {
        libc::getpeername(fd.as_raw_fd(), (&raw mut peer.storage).cast(), &mut peer.len)
    })?;
    Ok(peer)
}
