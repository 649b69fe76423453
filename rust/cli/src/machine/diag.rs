//! The stream sockets of a network namespace, by sock_diag(7).

use crate::machine::socket::{Name, Socket, State};
use netlink_packet_core::{
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NLM_F_DUMP, NLM_F_REQUEST,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla as InetAttribute;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::unix::nlas::{Nla as UnixAttribute, UnixDiagName};
use netlink_packet_sock_diag::unix::{ShowFlags, UnixRequest, UnixResponse};
use netlink_packet_sock_diag::{unix, SockDiagMessage};
use netlink_sys::{protocols::NETLINK_SOCK_DIAG, Socket as Netlink, SocketAddr};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

/// A message is no longer than the kernel's buffer for a dump.
const MESSAGE: usize = 1 << 17;

/// Every TCP and Unix stream socket by its inode. An error of the second kind means
/// that the Unix sockets are missing.
pub(crate) fn sockets() -> io::Result<(HashMap<u64, Socket>, Option<io::Error>)> {
    let mut found = HashMap::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::SKMEMINFO,
            // Nobody owns one in TIME_WAIT, and there may be very many.
            states: StateFlags::all().difference(StateFlags::TIME_WAIT),
            socket_id,
        };
        ask(SockDiagMessage::InetRequest(request), &mut found)?;
    }
    let request = UnixRequest {
        state_flags: unix::StateFlags::all(),
        inode: 0,
        show_flags: ShowFlags::NAME | ShowFlags::PEER | ShowFlags::RQLEN,
        cookie: [0xff; 8],
    };
    let missing = ask(SockDiagMessage::UnixRequest(request), &mut found).err();
    Ok((found, missing))
}

fn ask(request: SockDiagMessage, found: &mut HashMap<u64, Socket>) -> io::Result<()> {
    let mut socket = Netlink::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut buffer = Vec::with_capacity(MESSAGE);
    loop {
        buffer.clear();
        let size = socket.recv(&mut buffer, 0)?;
        if take(&buffer[..size], found)? {
            return Ok(());
        }
    }
}

/// Takes the sockets out of what was received: true at the end of the dump.
fn take(mut bytes: &[u8], found: &mut HashMap<u64, Socket>) -> io::Result<bool> {
    while let Some(start) = bytes.first_chunk::<4>() {
        let length = u32::from_ne_bytes(*start) as usize;
        if length < 16 || length > bytes.len() {
            return Err(io::Error::other("sock_diag: a message is cut off"));
        }
        // One that cannot be read is a socket of a kind that is not looked at.
        if let Ok(message) = NetlinkMessage::<SockDiagMessage>::deserialize(&bytes[..length]) {
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let socket = of_inet(&response);
                    found.insert(socket.inode, socket);
                }
                NetlinkPayload::InnerMessage(SockDiagMessage::UnixResponse(response)) => {
                    let socket = of_unix(&response);
                    found.insert(socket.inode, socket);
                }
                _ => {}
            }
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(false)
}

fn of_inet(response: &InetResponse) -> Socket {
    let (header, id) = (&response.header, &response.header.socket_id);
    let drops = response.nlas.iter().find_map(|attribute| match attribute {
        InetAttribute::MemInfo(memory) => Some(memory.drops),
        _ => None,
    });
    let state = State::of(header.state);
    Socket {
        inode: u64::from(header.inode),
        state,
        local: Name::Ip((id.source_address, id.source_port).into()),
        peer: (state != State::Listen)
            .then(|| Name::Ip((id.destination_address, id.destination_port).into())),
        receive_queue: header.recv_queue,
        send_queue: header.send_queue,
        drops: drops.filter(|_| state == State::Listen),
        uid: Some(header.uid),
    }
}

fn of_unix(response: &UnixResponse) -> Socket {
    let inode = u64::from(response.header.inode);
    let mut socket = Socket {
        inode,
        state: State::of(response.header.state),
        local: Name::Unnamed(inode),
        peer: None,
        receive_queue: 0,
        send_queue: 0,
        drops: None,
        uid: None,
    };
    for attribute in &response.nlas {
        match attribute {
            UnixAttribute::Name(UnixDiagName::Pathname(path)) => {
                socket.local = Name::Path(PathBuf::from(path));
            }
            UnixAttribute::Name(UnixDiagName::Abstract(name)) => {
                socket.local = Name::Abstract(name.clone());
            }
            UnixAttribute::Peer(peer) => socket.peer = Some(Name::Unnamed(u64::from(*peer))),
            UnixAttribute::ReceiveQueueLength(receive, send) => {
                (socket.receive_queue, socket.send_queue) = (*receive, *send);
            }
            _ => {}
        }
    }
    // What TCP calls CLOSE_WAIT has no name here: the peer's socket is closed, and has no
    // inode any more.
    if socket.peer == Some(Name::Unnamed(0)) {
        socket.state = State::CloseWait;
    }
    socket
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn inode(of: &impl AsRawFd) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", of.as_raw_fd())).expect("link");
        let text = link.to_string_lossy().into_owned();
        text.trim_start_matches("socket:[").trim_end_matches(']').parse().expect("number")
    }

    #[test]
    fn listeners_connections_and_queues_are_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("address");
        let client = TcpStream::connect(address).expect("connected");
        let (sockets, _) = sockets().expect("sock_diag");
        let seen = &sockets[&inode(&listener)];
        assert!(seen.listens());
        assert_eq!((seen.local.clone(), seen.receive_queue), (Name::Ip(address), 1));
        assert_eq!(seen.drops, Some(0));
        assert_eq!(sockets[&inode(&client)].peer, Some(Name::Ip(address)));
    }

    #[test]
    fn a_unix_socket_whose_peer_has_gone_is_in_close_wait() {
        let (left, right) = UnixStream::pair().expect("pair");
        let (found, missing) = sockets().expect("sock_diag");
        if missing.is_some() {
            return;
        }
        assert_eq!(found[&inode(&left)].peer, Some(Name::Unnamed(inode(&right))));
        drop(right);
        let (found, _) = sockets().expect("sock_diag");
        assert_eq!(found[&inode(&left)].state, State::CloseWait);
    }
}
