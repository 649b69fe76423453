//! Events as one flat struct.

use core::{Event, Exit, PeerSockaddr};
use libc::{c_char, c_void, sockaddr};
use std::ffi::CString;
use std::time::Duration;

/// The loop has begun, and accepts connections at address.
pub const FORKSERVE_EVENT_LISTENING: i32 = 1;
/// A connection was taken from the kernel: conn_id, peer.
pub const FORKSERVE_EVENT_ACCEPTED: i32 = 2;
/// A child was made for it: conn_id, peer, pid.
pub const FORKSERVE_EVENT_FORKED: i32 = 3;
/// fork failed: conn_id, peer, error. For a spare conn_id is 0.
pub const FORKSERVE_EVENT_FORK_FAILED: i32 = 4;
/// The connection is kept until a child can be made: conn_id, peer.
pub const FORKSERVE_EVENT_HELD: i32 = 5;
/// The connection was closed without a child: conn_id, peer, reason, error.
pub const FORKSERVE_EVENT_REFUSED: i32 = 6;
/// A child has ended: conn_id, peer, pid, exit_code, exit_signal, times, memory.
pub const FORKSERVE_EVENT_ENDED: i32 = 7;
/// No connection is accepted for now: reason, error.
pub const FORKSERVE_EVENT_PAUSED: i32 = 8;
/// Connections are accepted again.
pub const FORKSERVE_EVENT_RESUMED: i32 = 9;
/// forkserve_server_stop was called, no listener is left, or no client has come for
/// exit_idle_ms: the drain has begun.
pub const FORKSERVE_EVENT_DRAINING: i32 = 10;
/// The drain is complete: no listener, no child.
pub const FORKSERVE_EVENT_STOPPED: i32 = 11;
/// The supervisor has ended: pid, exit_code (0: it has drained), exit_signal. The
/// host's observer is called with it, from forkserve_server_wait.
pub const FORKSERVE_EVENT_SUPERVISOR_ENDED: i32 = 12;
/// A listener has become useless, and has been closed: address, error. The others go
/// on. The call that runs the loop returns an error, too; a supervisor ends if it was
/// the last.
pub const FORKSERVE_EVENT_LISTENER_FAILED: i32 = 13;
/// A child that serves several connections has told what cannot be true. Nothing more
/// of it is believed, and it is ended by SIGKILL: pid.
pub const FORKSERVE_EVENT_CHILD_DISTRUSTED: i32 = 14;
/// A child has spoilt what the children share that serve several connections. There is
/// a new one, and new spares; those that serve finish: reason.
pub const FORKSERVE_EVENT_SPARES_RENEWED: i32 = 15;
/// The file of a Unix socket is to be removed, because its listener closes, and cannot
/// be, perhaps because the process has other rights or another root by now: address,
/// error.
pub const FORKSERVE_EVENT_SOCKET_FILE_LEFT: i32 = 16;
/// A program could not be executed: conn_id, peer, path, error.
pub const FORKSERVE_EVENT_EXEC_FAILED: i32 = 17;
/// After forkserve_server_detach: no listener, and the children go on by themselves;
/// live tells how many connections they serve.
pub const FORKSERVE_EVENT_DETACHED: i32 = 18;
/// systemd could not be told of the server (see notify): error. Of failures in a row the
/// first.
pub const FORKSERVE_EVENT_NOTIFY_FAILED: i32 = 19;
/// A connection has been in its handshake for longer than handshake_ms, and its child gets
/// SIGTERM: conn_id, peer, pid.
pub const FORKSERVE_EVENT_HANDSHAKE_TIMEOUT: i32 = 20;
/// A connection in its handshake makes room for a new one, and its child gets SIGTERM:
/// conn_id, peer, pid.
pub const FORKSERVE_EVENT_EVICTED: i32 = 21;
/// The kernel's Landlock has less than was asked of it, and with FORKSERVE_LANDLOCK_TRY the
/// server serves all the same: reason.
pub const FORKSERVE_EVENT_SANDBOX_REDUCED: i32 = 22;
/// A proxy has said whose connection it is: conn_id, peer. It comes after ACCEPTED and FORKED,
/// which have named the proxy, and later events of the connection name this client.
pub const FORKSERVE_EVENT_ANNOUNCED: i32 = 23;

/// One thing that happened. Fields that its type does not name are zero (NULL,
/// or -1 for exit_code), except live, which every event has.
#[repr(C)]
pub struct forkserve_event {
    /// Bytes that this struct has in the library that made it.
    pub size: usize,
    /// FORKSERVE_EVENT_*. New types may come; ignore those you do not know.
    pub r#type: i32,
    /// FORKSERVE_REASON_*.
    pub reason: i32,
    /// An error number, positive.
    pub error: i32,
    /// The child.
    pub pid: i32,
    /// What the child passed to exit, 0 to 255; -1 if a signal ended it or its
    /// status is unknown.
    pub exit_code: i32,
    /// The signal that ended it, or 0.
    pub exit_signal: i32,
    /// Number of the connection.
    pub conn_id: u64,
    /// Connections that are being served now. Known for each event.
    pub live: u64,
    /// Microseconds for which the connection was served: from the fork, or from
    /// when a spare took it, to the end.
    pub duration_us: u64,
    /// Microseconds of processor time in user mode.
    pub user_us: u64,
    /// Microseconds of processor time in the kernel.
    pub system_us: u64,
    /// The child's largest resident set, in KiB.
    pub max_rss_kib: u64,
    /// The client as text, or NULL: see forkserve_conn_peer_name.
    pub peer: *const c_char,
    /// The listening address as text, or NULL.
    pub address: *const c_char,
    /// The client as a socket address, for getnameinfo and the like. An IPv4 client of
    /// an IPv6 listener is of AF_INET, as it is as text. NULL without a client, and for
    /// a Unix client whose name is too long to be shown whole.
    pub peer_address: *const sockaddr,
    /// How many bytes that has.
    pub peer_address_len: usize,
    /// The program; NULL without one.
    pub path: *const c_char,
}

/// The observer is called with each event, in the order in which things happened,
/// by the thread that runs the loop and from inside the call that runs it. The event
/// and its texts are valid during the call. The observer may call
/// forkserve_server_stop, forkserve_server_stats and forkserve_server_address. It
/// should not block, because the loop waits for it.
pub type forkserve_observer =
    Option<unsafe extern "C" fn(event: *const forkserve_event, userdata: *mut c_void)>;

fn code_and_signal(exit: Exit) -> (i32, i32) {
    match exit {
        Exit::Code(code) => (code, 0),
        Exit::Signal(signal) => (-1, signal),
        Exit::Unknown => (-1, 0),
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// The event as C sees it, with the texts that it points into.
pub(crate) struct Flat {
    pub(crate) event: forkserve_event,
    _peer: Option<Box<PeerSockaddr>>,
    _texts: [CString; 3],
}

pub(crate) fn flatten(event: &Event<'_>, live: u64) -> Flat {
    let mut flat = forkserve_event {
        size: size_of::<forkserve_event>(),
        r#type: 0,
        reason: 0,
        error: 0,
        pid: 0,
        exit_code: -1,
        exit_signal: 0,
        conn_id: 0,
        live,
        duration_us: 0,
        user_us: 0,
        system_us: 0,
        max_rss_kib: 0,
        peer: std::ptr::null(),
        address: std::ptr::null(),
        peer_address: std::ptr::null(),
        peer_address_len: 0,
        path: std::ptr::null(),
    };
    let (mut who, mut place, mut file) = (None, None, None);
    flat.r#type = match *event {
        Event::Listening { address } => {
            place = Some(address);
            FORKSERVE_EVENT_LISTENING
        }
        Event::Accepted { id, peer } => {
            who = Some((id, peer));
            FORKSERVE_EVENT_ACCEPTED
        }
        Event::Announced { id, peer } => {
            who = Some((id, peer));
            FORKSERVE_EVENT_ANNOUNCED
        }
        Event::Forked { id, peer, pid } => {
            who = Some((id, peer));
            flat.pid = pid;
            FORKSERVE_EVENT_FORKED
        }
        Event::ForkFailed { id, peer, errno } => {
            who = Some((id, peer));
            flat.error = errno;
            FORKSERVE_EVENT_FORK_FAILED
        }
        Event::ExecFailed { id, peer, path, errno } => {
            who = Some((id, peer));
            file = Some(path);
            flat.error = errno;
            FORKSERVE_EVENT_EXEC_FAILED
        }
        Event::Held { id, peer } => {
            who = Some((id, peer));
            FORKSERVE_EVENT_HELD
        }
        Event::Refused { id, peer, reason } => {
            who = Some((id, peer));
            (flat.reason, flat.error) = (reason.number(), reason.errno());
            FORKSERVE_EVENT_REFUSED
        }
        Event::HandshakeTimeout { id, peer, pid } => {
            who = Some((id, peer));
            flat.pid = pid;
            FORKSERVE_EVENT_HANDSHAKE_TIMEOUT
        }
        Event::Evicted { id, peer, pid } => {
            who = Some((id, peer));
            flat.pid = pid;
            FORKSERVE_EVENT_EVICTED
        }
        Event::SandboxReduced { reason } => {
            flat.reason = reason.number();
            FORKSERVE_EVENT_SANDBOX_REDUCED
        }
        Event::Ended { id, peer, pid, exit, duration, usage } => {
            who = Some((id, peer));
            flat.pid = pid;
            (flat.exit_code, flat.exit_signal) = code_and_signal(exit);
            flat.duration_us = micros(duration);
            flat.user_us = micros(usage.user);
            flat.system_us = micros(usage.system);
            flat.max_rss_kib = usage.max_rss_kib;
            FORKSERVE_EVENT_ENDED
        }
        Event::Paused { reason } => {
            (flat.reason, flat.error) = (reason.number(), reason.errno());
            FORKSERVE_EVENT_PAUSED
        }
        Event::Resumed => FORKSERVE_EVENT_RESUMED,
        Event::ListenerFailed { address, errno } => {
            place = Some(address);
            flat.error = errno;
            FORKSERVE_EVENT_LISTENER_FAILED
        }
        Event::SocketFileLeft { address, errno } => {
            place = Some(address);
            flat.error = errno;
            FORKSERVE_EVENT_SOCKET_FILE_LEFT
        }
        Event::ChildDistrusted { pid } => {
            flat.pid = pid;
            FORKSERVE_EVENT_CHILD_DISTRUSTED
        }
        Event::SparesRenewed { reason } => {
            flat.reason = reason.number();
            FORKSERVE_EVENT_SPARES_RENEWED
        }
        Event::NotifyFailed { errno } => {
            flat.error = errno;
            FORKSERVE_EVENT_NOTIFY_FAILED
        }
        Event::Draining { .. } => FORKSERVE_EVENT_DRAINING,
        Event::Stopped => FORKSERVE_EVENT_STOPPED,
        Event::Detached { live } => {
            // They have been forgotten by now.
            flat.live = live;
            FORKSERVE_EVENT_DETACHED
        }
        Event::SupervisorEnded { pid, exit } => {
            flat.pid = pid;
            (flat.exit_code, flat.exit_signal) = code_and_signal(exit);
            FORKSERVE_EVENT_SUPERVISOR_ENDED
        }
        _ => 0,
    };
    let text = |text: Option<&str>| CString::new(text.unwrap_or_default()).unwrap_or_default();
    let texts = [text(who.map(|(_, peer)| peer)), text(place), text(file)];
    if let Some((id, _)) = who {
        flat.conn_id = id;
        flat.peer = texts[0].as_ptr();
    }
    if place.is_some() {
        flat.address = texts[1].as_ptr();
    }
    // In memory that does not move with the rest.
    let peer = event.peer_sockaddr().map(Box::new);
    if let Some(peer) = &peer {
        flat.peer_address = peer.as_bytes().as_ptr().cast();
        flat.peer_address_len = peer.as_bytes().len();
    }
    if file.is_some() {
        flat.path = texts[2].as_ptr();
    }
    Flat { event: flat, _texts: texts, _peer: peer }
}
