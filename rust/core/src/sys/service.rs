//! Ports by the names of their services, as `getaddrinfo(3)` finds them.
//!
//! Unlike the rest of this folder it allocates, takes locks of libc's and reads
//! files: for the parent, before it serves.

use super::check;
use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// The TCP port of a service; `None` where the machine does not know it.
pub(crate) fn port(service: &CStr) -> Result<Option<u16>, Errno> {
    // SAFETY: a C struct of numbers and pointers, for which zero is a value.
    let mut hints: libc::addrinfo = unsafe { MaybeUninit::zeroed().assume_init() };
    hints.ai_family = libc::AF_INET;
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut found = std::ptr::null_mut();
    // SAFETY: `service` ends with a NUL; the others are borrowed for the call.
    match unsafe { libc::getaddrinfo(std::ptr::null(), service.as_ptr(), &hints, &mut found) } {
        0 => {}
        libc::EAI_SERVICE | libc::EAI_NONAME => return Ok(None),
        libc::EAI_SYSTEM => return check(-1).map(|_| None),
        libc::EAI_MEMORY => return Err(Errno::ENOMEM),
        _ => return Err(Errno::EAGAIN),
    }
    // SAFETY: on success there is at least one result.
    let first = unsafe { (*found).ai_addr };
    // SAFETY: of the family asked for, and so a sockaddr_in; no alignment is assumed.
    let address = unsafe { first.cast::<libc::sockaddr_in>().read_unaligned() };
    // SAFETY: from getaddrinfo, and freed once.
    unsafe { libc::freeaddrinfo(found) };
    Ok(Some(u16::from_be(address.sin_port)))
}
