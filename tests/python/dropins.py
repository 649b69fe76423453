"""The preamble of scripts with drop-ins, and how their servers are started."""

PREAMBLE = """
import os, signal, socket, sys, threading, time, warnings
import forkserve as socketserver
from forkserve._dropins import OPTIONS

# Where threads serve; the warning has a test of its own.
warnings.filterwarnings("ignore", "This process .* use of serve_forever", DeprecationWarning)

# For sigwait.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)

class Native(socketserver.ForkingTCPServer):
    pass

class Overridden(socketserver.ForkingTCPServer):
    # A step that is the parent's: the loop is not the native one.
    def verify_request(self, request, client_address):
        return super().verify_request(request, client_address)

Server = globals()[sys.argv[1]] if len(sys.argv) > 1 else Native

def serve(handler=Echo, address=("127.0.0.1", 0), server=None, **attributes):
    options = {name: attributes.pop(name) for name in OPTIONS if name in attributes}
    attributes |= {"fork_options": options} if options else {}
    kind = type("Server", (server or Server,), attributes)
    server = kind(address, handler)
    at = server.server_address
    say("listening", "unix:" + at if isinstance(at, str) else "%s:%d" % at[:2])
    return server

def in_thread(server, **how):
    thread = threading.Thread(target=server.serve_forever, kwargs=how)
    thread.start()
    return thread
"""

# With nothing overridden that is the parent's, and with something.
TIERS = ["Native", "Overridden"]
