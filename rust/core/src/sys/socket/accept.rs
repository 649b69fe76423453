//! `accept4`.

use crate::sys::socket::RawAddress;
use crate::sys::{own, raw};
use nix::errno::Errno;
use std::os::fd::{OwnedFd, RawFd};

/// Takes the next connection of a listener: blocking, close-on-exec, with its
/// peer written to `peer`. `None`: there is none. For children too: see `raw`.
///
/// O_NONBLOCK belongs to the open file description, so a process that shares the
/// listener may have cleared it since the last call. It is set each time: a
/// tenth of what an `accept4` costs that finds nothing.
pub(crate) fn accept(listener: RawFd, peer: &mut RawAddress) -> Result<Option<OwnedFd>, Errno> {
    let on: libc::c_int = 1;
    let no_wait = [listener as usize, libc::FIONBIO as usize, (&raw const on) as usize];
    // Unlike F_SETFL it leaves the other flags alone. A failure leaves the flag
    // as it is, and `accept4` says what is wrong with the listener.
    // SAFETY: FIONBIO reads one int.
    unsafe { raw::call(libc::SYS_ioctl, no_wait) };
    peer.len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let (address, len) = ((&raw mut peer.storage) as usize, (&raw mut peer.len) as usize);
    let args = [listener as usize, address, len, libc::SOCK_CLOEXEC as usize];
    // SAFETY: the storage has `len` writable bytes; the kernel updates `len`.
    let result = unsafe { raw::call(libc::SYS_accept4, args) };
    // The common one first: an errno's name is looked up in a table far away.
    if result == -(libc::EAGAIN as isize) {
        return Ok(None);
    }
    let fd = raw::check(result)? as RawFd;
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(Some(unsafe { own(fd) }))
}
