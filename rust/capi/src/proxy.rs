//! What a proxy has said of a connection.
#![allow(unsafe_code)]

use crate::conn::{forkserve_conn, get};
use crate::sized::write_sized;
use core::{ProxyCommand, ProxyHeader};
use libc::{c_char, c_int, c_void, sockaddr, ssize_t};
use std::mem::offset_of;

/// The connection is the proxy's own, such as a health check.
pub const FORKSERVE_COMMAND_LOCAL: i32 = 0;
/// The proxy passes the connection on for a client.
pub const FORKSERVE_COMMAND_PROXY: i32 = 1;

/// The client came over TLS.
pub const FORKSERVE_TLS_USED: u32 = 1;
/// It has shown a certificate on this connection.
pub const FORKSERVE_TLS_CERT_CONN: u32 = 2;
/// It has shown a certificate earlier in its session.
pub const FORKSERVE_TLS_CERT_SESS: u32 = 4;

/// The protocol that client and proxy have agreed on by TLS (ALPN).
pub const FORKSERVE_TLV_ALPN: i32 = 0x01;
/// The name of the host that the client wants, such as that of TLS (SNI).
pub const FORKSERVE_TLV_AUTHORITY: i32 = 0x02;
/// The checksum of the header, which has been verified.
pub const FORKSERVE_TLV_CRC32C: i32 = 0x03;
/// What fills the header up.
pub const FORKSERVE_TLV_NOOP: i32 = 0x04;
/// What the proxy knows the connection by: up to 128 bytes.
pub const FORKSERVE_TLV_UNIQUE_ID: i32 = 0x05;
/// What the proxy says of TLS, as a whole.
pub const FORKSERVE_TLV_TLS: i32 = 0x20;
/// In it: the version of TLS.
pub const FORKSERVE_TLV_TLS_VERSION: i32 = 0x2021;
/// In it: the common name in the client's certificate.
pub const FORKSERVE_TLV_TLS_CN: i32 = 0x2022;
/// In it: the cipher.
pub const FORKSERVE_TLV_TLS_CIPHER: i32 = 0x2023;
/// In it: the algorithm by which the proxy's certificate is signed.
pub const FORKSERVE_TLV_TLS_SIG_ALG: i32 = 0x2024;
/// In it: the algorithm of the key of the proxy's certificate.
pub const FORKSERVE_TLV_TLS_KEY_ALG: i32 = 0x2025;
/// The network namespace of the proxy.
pub const FORKSERVE_TLV_NETNS: i32 = 0x30;

/// What a proxy has said of a connection. Set it to FORKSERVE_PROXY_INIT before the call of
/// forkserve_conn_proxy.
#[repr(C)]
pub struct forkserve_proxy {
    /// sizeof(forkserve_proxy).
    pub size: usize,
    /// The version of the header: 1 or 2.
    pub version: i32,
    /// FORKSERVE_COMMAND_*. Version 1 has PROXY only.
    pub command: i32,
    /// SOCK_STREAM or SOCK_DGRAM: what the proxy passes on.
    pub socktype: i32,
    /// FORKSERVE_TLS_*, as bits; 0 without TLS, and where nothing is said of it.
    pub tls: u32,
    /// 0 if the client has shown a certificate and the proxy has verified it.
    pub tls_verify: u32,
    /// How many bytes source has.
    pub source_len: u32,
    /// How many bytes destination has.
    pub destination_len: u32,
    /// How many bytes sender has.
    pub sender_len: u32,
    /// The client. NULL where the connection is the proxy's own, and where the proxy knows no
    /// address: the peer of the connection is the proxy itself then.
    pub source: *const sockaddr,
    /// The address that the client has connected to; NULL as source.
    pub destination: *const sockaddr,
    /// The proxy itself: the other end of the socket.
    pub sender: *const sockaddr,
    /// The same as text.
    pub sender_name: *const c_char,
}

/// No later version is larger.
const MOST: usize = 4096;
/// Its size in the first version: a caller's cannot be smaller.
const FIRST: usize = offset_of!(forkserve_proxy, sender_name) + size_of::<*const c_char>();

/// Writes what a proxy has said of this connection to *out. Client and destination are the
/// connection's own from then on: forkserve_conn_peer and its like return them. Returns 0.
///
/// Ownership: what the pointers in *out lead to is lent, and valid as long as conn.
/// Context: child; async-signal-safe.
/// Errors: -EINVAL: conn or out is NULL, or the size in out is impossible. -ENODATA: the
/// connection came from no proxy, or the option proxy is off.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_proxy(
    conn: *const forkserve_conn,
    out: *mut forkserve_proxy,
) -> c_int {
    // SAFETY: by the contract of the function.
    let Some(conn) = (unsafe { get(conn) }) else {
        return -libc::EINVAL;
    };
    // SAFETY: NULL, or a struct that begins with its size, by the contract of the function.
    let size = unsafe { out.cast::<usize>().as_ref() }.copied().unwrap_or(0);
    if !(FIRST..=MOST).contains(&size) {
        return -libc::EINVAL;
    }
    let Some(header) = conn.proxy() else {
        return -libc::ENODATA;
    };
    let said = flat(&header, conn.sender_name_c(), size);
    // SAFETY: `out` has `size` bytes.
    unsafe { write_sized(&said, out.cast(), size) };
    0
}

fn flat(header: &ProxyHeader<'_>, name: &std::ffi::CStr, size: usize) -> forkserve_proxy {
    let tls = header.tls();
    let (source, destination) = header.sockaddrs().unwrap_or_default();
    let sender = header.sender_sockaddr();
    let start = |bytes: &[u8]| match bytes {
        [] => std::ptr::null(),
        bytes => bytes.as_ptr().cast(),
    };
    forkserve_proxy {
        size,
        version: header.version().into(),
        command: match header.command() {
            ProxyCommand::Local => FORKSERVE_COMMAND_LOCAL,
            ProxyCommand::Proxy => FORKSERVE_COMMAND_PROXY,
        },
        socktype: if header.is_stream() { libc::SOCK_STREAM } else { libc::SOCK_DGRAM },
        tls: tls.map_or(0, |tls| tls.client().into()),
        tls_verify: tls.map_or(0, |tls| tls.verify()),
        source_len: source.len() as u32,
        destination_len: destination.len() as u32,
        sender_len: sender.len() as u32,
        source: start(source),
        destination: start(destination),
        sender: start(sender),
        sender_name: name.as_ptr(),
    }
}

/// Looks for what a proxy has said of this connection under type: FORKSERVE_TLV_*, any other
/// type of the protocol, or 0x2000 and a type within that of TLS. Writes to *value where it
/// lies, unless value is NULL, and returns its length. It has no NUL at its end.
///
/// Ownership: lent, valid as long as conn.
/// Context: child; async-signal-safe.
/// Errors: -EINVAL: conn is NULL. -ENODATA: nothing is said under this type, or the
/// connection came from no proxy.
/// Since: 0.1.
#[no_mangle]
pub unsafe extern "C" fn forkserve_conn_proxy_tlv(
    conn: *const forkserve_conn,
    r#type: c_int,
    value: *mut *const c_void,
) -> ssize_t {
    // SAFETY: by the contract of the function.
    let Some(conn) = (unsafe { get(conn) }) else {
        return -(libc::EINVAL as ssize_t);
    };
    let kind = r#type as u8;
    let find = |header: ProxyHeader<'static>| match r#type >> 8 {
        0 => header.tlvs().find(kind),
        FORKSERVE_TLV_TLS => header.tls()?.tlvs().find(kind),
        _ => None,
    };
    let Some(found) = conn.proxy().and_then(find) else {
        return -(libc::ENODATA as ssize_t);
    };
    // SAFETY: NULL or writable, by the contract of the function.
    if let Some(value) = unsafe { value.as_mut() } {
        *value = found.as_ptr().cast();
    }
    found.len() as ssize_t
}
