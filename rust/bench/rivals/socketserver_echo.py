"""Echo server on socketserver.ForkingTCPServer, the standard library's fork per
connection. Everything is as shipped, except the backlog, which is an argument:
the default of 5 would measure lost SYNs.

Usage: socketserver_echo.py HOST PORT BACKLOG [BALLAST_MIB]
"""

import socketserver
import sys

import ballast


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)


class Server(socketserver.ForkingTCPServer):
    allow_reuse_address = True
    request_queue_size = int(sys.argv[3])


ballast.add(int(sys.argv[4]) if len(sys.argv) > 4 else 0)
with Server((sys.argv[1], int(sys.argv[2])), Echo) as server:
    print("listening %s:%d" % server.server_address, flush=True)
    server.serve_forever()
