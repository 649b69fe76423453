"""What testserver.py prints."""

import json
import os

# Where the lines go.
to = 1


def put_line(line):
    """As a whole and past the buffer of `print`."""
    data = line.encode()
    if os.write(to, data) != len(data):
        os._exit(3)  # Nobody is left to read.


def put(event, **fields):
    known = {name: value for name, value in fields.items() if value is not None}
    put_line(json.dumps({"event": event, **known}) + "\n")


def observe(event):
    fields = {
        "id": event.conn_id,
        "peer": event.peer,
        "address": event.address,
        "path": event.path,
        "pid": event.pid,
        "reason": event.reason,
        "error": event.error,
    }
    if event.kind in ("draining", "detached"):
        fields["live"] = event.live
    if event.kind in ("ended", "supervisor_ended"):
        fields["exit_code"] = -1 if event.exit_code is None else event.exit_code
        fields["exit_signal"] = event.exit_signal or 0
    if event.kind == "ended":
        fields["duration_us"] = int(event.duration * 1e6)
        fields["cpu_us"] = int(((event.user_time or 0) + (event.system_time or 0)) * 1e6)
        fields["max_rss_kib"] = event.max_rss_kib or 0
    put(event.kind, **fields)
