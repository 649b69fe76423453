//! Sockets, one family of calls a file.
//!
//! Every descriptor is born with close-on-exec. Listeners are non-blocking (readable does
//! not mean that `accept` will not block: accept(2), NOTES), and made so again before each
//! `accept`. Accepted connections are blocking, as handlers expect.

mod accept;
mod address;
mod adopt;
mod datagram;
mod open;
mod option;
mod receive;
mod shutdown;
mod transfer;
mod unread;
mod wait;

pub(crate) use accept::accept;
pub(crate) use address::{local_address, peer_address, Parts, RawAddress};
pub(crate) use adopt::{adopt_listener, close_on_exec, option_of, Flags};
pub(crate) use datagram::send_to;
pub(crate) use open::{bind, connect, datagram_socket, listen, stream_socket};
pub(crate) use option::{cookie, option, queue_length, remove_ip_options, set_option};
pub(crate) use receive::{peek_now, take_now};
pub(crate) use shutdown::{close_queue, finish_sending, shutdown_write, stop_listening};
pub(crate) use transfer::{read, receive_now, send_now, write};
pub(crate) use unread::{discard_now, discard_until_end, has_unread, is_unread};
pub(crate) use wait::{pause, wait_awake, wait_readable, wait_until};
