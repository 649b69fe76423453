//! How many connections are served, for the log and for the children.

use super::counts::Counts;
use super::log::{safe, warn, Log};
use crate::ucspi::errno;
use forkserve::{Event, Exit, Pause, Refusal};
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

pub(super) struct Status {
    pub(super) log: Log,
    pub(super) live: u64,
    pub(super) limit: u32,
    pub(super) local_host: OsString,
    pub(super) local: IpAddr,
    /// How many one address may have; 0: no limit.
    pub(super) most: u32,
    pub(super) counts: Counts,
}

impl Status {
    fn print(&self) {
        self.log.info(format!("status {}/{}", self.live, self.limit));
    }

    fn end(&mut self, peer: Option<SocketAddr>) {
        if let Some(peer) = peer {
            self.counts.change(peer.ip(), -1);
        }
        self.live = self.live.saturating_sub(1);
    }

    pub(super) fn observe(&mut self, event: &Event<'_>) {
        let peer = event.peer_addr();
        match *event {
            Event::Accepted { .. } => {
                if let Some(peer) = peer {
                    self.counts.change(peer.ip(), 1);
                }
                self.live += 1;
                self.print();
            }
            Event::Refused { reason, .. } => {
                self.tell_refused(reason, peer);
                self.end(peer);
                self.print();
            }
            Event::Ended { pid, exit, .. } => {
                let status = match exit {
                    Exit::Code(code) => code,
                    Exit::Signal(_) | Exit::Unknown => 0,
                };
                self.end(peer);
                self.log.info(format!("end {pid} exit {status}"));
                self.print();
            }
            Event::Paused { reason: Pause::Resources(errno) } => {
                let why = errno::text(&io::Error::from_raw_os_error(errno));
                warn(&format!("unable to accept connection: {why}"));
            }
            _ => {}
        }
    }

    fn tell_refused(&self, reason: Refusal, peer: Option<SocketAddr>) {
        match (reason, peer) {
            (Refusal::Fork(errno), _) => {
                let why = errno::text(&io::Error::from_raw_os_error(errno));
                warn(&format!("drop connection: unable to fork: {why}"));
            }
            // No process was made for it, so there is none to be named.
            (Refusal::Source, Some(peer)) => {
                let (ip, port) = (peer.ip(), peer.port());
                let count = self.counts.of(ip);
                self.log.info(format!("concurrency 0 {ip} {count}/{}", self.most));
                let (host, local) = (safe(self.local_host.as_bytes()), self.local);
                self.log.info(format!("deny 0 {host}:{local} ::{ip}:{port}"));
            }
            _ => {}
        }
    }
}
