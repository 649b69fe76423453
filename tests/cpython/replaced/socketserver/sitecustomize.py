"""Puts the drop-ins in the place of the originals, before anything imports them."""

import socketserver

import forkserve

for name in (
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "ForkingUnixStreamServer",
    "ForkingUnixDatagramServer",
):
    # Those of Unix sockets are of CPython 3.12.
    if hasattr(socketserver, name):
        ours = getattr(forkserve, name)
        # MiscTestCase.test_all wants to know all that is of this module.
        ours.__module__ = "socketserver"
        setattr(socketserver, name, ours)
