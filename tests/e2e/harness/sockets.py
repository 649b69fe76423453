"""The TCP sockets of this machine, as the kernel has them: sock_diag(7).

Asked by state, since after thousands of connections there are as many sockets
in TIME_WAIT, which nobody owns and which /proc/net/tcp would spell out each
time.
"""

import socket
import struct
from collections import namedtuple

CLOSE_WAIT, LISTEN = 8, 10
# All but TIME_WAIT (6), by their numbers in tcp_states.h.
OWNED = (1, 2, 3, 4, 5, 7, CLOSE_WAIT, 9, LISTEN, 11, 12)

# From linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLMSG_ERROR, NLMSG_DONE, NLM_F_REQUEST, NLM_F_DUMP = 2, 3, 1, 0x300
HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBBxI48x")
# Family, state; the ports, in the order of the network; queues and inode.
ANSWER, PORTS, REST = struct.Struct("=BBxx"), struct.Struct("!HH"), struct.Struct("=III4xI")
PORTS_AT, REST_AT = 4, 52

# `queue`: what waits to be read; for a listener, the connections to accept.
Sock = namedtuple("Sock", "state local_port remote_port queue inode")


def tcp_sockets(*states):
    """The sockets in these states; without any, all that somebody owns."""
    mask = sum(1 << state for state in states or OWNED)
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(10)
        for family in (socket.AF_INET, socket.AF_INET6):
            found += _dump(netlink, family, mask)
    return found


def _dump(netlink, family, mask):
    request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, mask)
    flags = NLM_F_REQUEST | NLM_F_DUMP
    header = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    netlink.send(header + request)
    while True:
        data = netlink.recv(1 << 17)
        while data:
            length, kind, *_ = HEADER.unpack_from(data)
            body, data = data[HEADER.size : length], data[(length + 3) & ~3 :]
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                raise OSError(-struct.unpack_from("=i", body)[0], "sock_diag")
            _, state = ANSWER.unpack_from(body)
            local, remote = PORTS.unpack_from(body, PORTS_AT)
            _, queue, _, inode = REST.unpack_from(body, REST_AT)
            yield Sock(state, local, remote, queue, inode)


def close_wait(port):
    """Sockets at this local port whose peer has left and whose owner has not."""
    return [s for s in tcp_sockets(CLOSE_WAIT) if s.local_port == port]


def queued(*ports):
    """How many connections wait to be accepted at these ports."""
    return sum(s.queue for s in tcp_sockets(LISTEN) if s.local_port in ports)
