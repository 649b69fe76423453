//! The variables by which a program learns of its client.
//!
//! What is not known is not set, and never empty; and what was set in the environment before
//! is taken out, so that a program never takes an earlier client for its own.

use crate::net::conn::Connection;
use crate::sys::credentials;
use crate::sys::exec::Io;
use crate::sys::socket::{Parts, RawAddress};
use std::ffi::{CStr, CString};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

/// Which variables a program has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// As tcpserver sets them: PROTO, TCPLOCALIP, TCPLOCALPORT, TCPREMOTEIP, TCPREMOTEPORT; for a
    /// Unix socket UNIXLOCALPATH, UNIXREMOTEPATH, UNIXREMOTEEUID, UNIXREMOTEEGID, UNIXREMOTEPID.
    pub ucspi: bool,
    /// As CGI and systemd have them: REMOTE_ADDR, REMOTE_PORT.
    pub cgi: bool,
    /// As systemd passes sockets: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES. Only with [`Io::Fd3`],
    /// since they speak of descriptor 3.
    pub systemd: bool,
    /// As xinetd sets it: REMOTE_HOST, which is the client's address, and no name.
    pub xinetd: bool,
}

const UCSPI: [&str; 13] = [
    "PROTO",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "TCPLOCALHOST",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPREMOTEHOST",
    "TCPREMOTEINFO",
    "UNIXLOCALPATH",
    "UNIXREMOTEPATH",
    "UNIXREMOTEEUID",
    "UNIXREMOTEEGID",
    "UNIXREMOTEPID",
];
const CGI: [&str; 3] = ["REMOTE_ADDR", "REMOTE_PORT", "REMOTE_HOST"];
const XINETD: [&str; 1] = ["REMOTE_HOST"];
const SYSTEMD: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// The number of the descriptor by which a program says that its connection is established.
/// Always taken out: a server that is a program of another one is not to hand that one's on.
const VOICE: &str = "FORKSERVE_ESTABLISHED_FD";

pub(super) fn of_voice(io: Io) -> Option<CString> {
    CString::new(format!("{VOICE}={}", io.voice())).ok()
}

/// One end of a connection, as variables have it.
enum End {
    Ip { six: bool, ip: String, port: u16 },
    Path(Vec<u8>),
    Unnamed,
}

impl End {
    fn of(address: &RawAddress) -> End {
        match address.parts() {
            Parts::V4(ip, port) => End::Ip { six: false, ip: Ipv4Addr::from(ip).to_string(), port },
            Parts::V6(ip, port, _) => {
                let ip = Ipv6Addr::from(ip);
                match ip.to_ipv4_mapped() {
                    Some(ip) => End::Ip { six: false, ip: ip.to_string(), port },
                    None => End::Ip { six: true, ip: ip.to_string(), port },
                }
            }
            Parts::Unix(path) if !path.is_empty() => End::Path(path.to_vec()),
            _ => End::Unnamed,
        }
    }
}

impl Variables {
    /// All of them.
    pub fn all() -> Variables {
        Variables { ucspi: true, cgi: true, systemd: true, xinetd: true }
    }

    /// Whether a variable of the environment is one of these.
    pub(super) fn own(self, text: &CStr) -> bool {
        let is = |name: &&str| -> bool {
            text.to_bytes()
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'='))
        };
        (self.ucspi && UCSPI.iter().any(&is))
            || (self.cgi && CGI.iter().any(&is))
            || (self.xinetd && XINETD.iter().any(&is))
            || (self.systemd && SYSTEMD.iter().any(&is))
            || is(&VOICE)
    }

    pub(super) fn of(self, connection: &Connection, io: Io) -> (Vec<CString>, bool) {
        let mut found = Vec::new();
        let mut set = |name: &str, value: &[u8]| {
            // The abstract name of a Unix socket may have any byte in it.
            found.extend(CString::new([name.as_bytes(), b"=", value].concat()).ok());
        };
        let remote = End::of(connection.peer());
        if self.ucspi {
            let local = End::of(connection.local());
            match (&local, &remote) {
                (End::Ip { ip, port, .. }, End::Ip { six, ip: remote_ip, port: remote_port }) => {
                    set("PROTO", if *six { b"TCP6" } else { b"TCP" });
                    set("TCPLOCALIP", ip.as_bytes());
                    set("TCPLOCALPORT", port.to_string().as_bytes());
                    set("TCPREMOTEIP", remote_ip.as_bytes());
                    set("TCPREMOTEPORT", remote_port.to_string().as_bytes());
                }
                _ => {
                    set("PROTO", b"UNIX");
                    for (name, end) in [("UNIXLOCALPATH", &local), ("UNIXREMOTEPATH", &remote)] {
                        if let End::Path(path) = end {
                            set(name, path);
                        }
                    }
                    // Where a proxy has named the client, they are the proxy's.
                    let own = connection.proxy().is_none_or(|header| !header.names_client());
                    let ids = own.then(|| credentials::of_peer(connection.as_fd())).flatten();
                    if let Some((pid, uid, gid)) = ids {
                        set("UNIXREMOTEEUID", uid.to_string().as_bytes());
                        set("UNIXREMOTEEGID", gid.to_string().as_bytes());
                        // 0: in a namespace that cannot be seen from here.
                        if pid > 0 {
                            set("UNIXREMOTEPID", pid.to_string().as_bytes());
                        }
                    }
                }
            }
        }
        if let (true, End::Ip { ip, port, .. }) = (self.cgi, &remote) {
            set("REMOTE_ADDR", ip.as_bytes());
            set("REMOTE_PORT", port.to_string().as_bytes());
        }
        if let (true, End::Ip { ip, .. }) = (self.xinetd, &remote) {
            set("REMOTE_HOST", ip.as_bytes());
        }
        let systemd = self.systemd && io == Io::Fd3;
        if systemd {
            set("LISTEN_FDS", b"1");
            set("LISTEN_FDNAMES", b"connection");
        }
        (found, systemd)
    }
}
