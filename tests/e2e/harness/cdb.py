"""Constant databases, byte for byte as tcprules and ipsvd-cdb make them."""

import struct

HEAD = 256 * 8


def _hash(key):
    value = 5381
    for byte in key:
        value = (value * 33 & 0xFFFFFFFF) ^ byte
    return value


def cdb(records):
    """The content of a database with these records (key, data), as text."""
    tables, body = [[] for _ in range(256)], b""
    for key, data in ((key.encode(), data.encode()) for key, data in records):
        value = _hash(key)
        tables[value % 256].append((value, HEAD + len(body)))
        body += struct.pack("<II", len(key), len(data)) + key + data
    head = b""
    for table in tables:
        slots = [(0, 0)] * (2 * len(table))
        head += struct.pack("<II", HEAD + len(body), len(slots))
        for value, place in table:
            at = (value // 256) % len(slots)
            while slots[at][1]:
                at = (at + 1) % len(slots)
            slots[at] = (value, place)
        body += b"".join(struct.pack("<II", *slot) for slot in slots)
    return head + body
