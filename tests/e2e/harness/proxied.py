"""Headers of the PROXY protocol, as a proxy would send them."""

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def _split(address):
    host, _, port = address.rpartition(":")
    return ipaddress.ip_address(host.strip("[]")), int(port)


def v1(client, target="198.51.100.9:443"):
    (source, source_port), (destination, port) = _split(client), _split(target)
    words = f"PROXY TCP{source.version} {source} {destination} {source_port} {port}\r\n"
    return words.encode()


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def block(command, family, rest):
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(rest)) + rest


def v2(client, target="198.51.100.9:443", *tlvs, protocol=1):
    (source, source_port), (destination, port) = _split(client), _split(target)
    family = 0x10 if source.version == 4 else 0x20
    ends = source.packed + destination.packed + struct.pack("!HH", source_port, port)
    return block(1, family | protocol, ends + b"".join(tlvs))


def v2_unix(client, target, *tlvs):
    return block(1, 0x31, client.ljust(108, b"\0") + target.ljust(108, b"\0") + b"".join(tlvs))


def local(*tlvs):
    """Of a health check."""
    return block(0, 0, b"".join(tlvs))


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def with_checksum(client, *tlvs, error=0):
    header = v2(client, "198.51.100.9:443", tlv(3, bytes(4)), *tlvs)
    place = header.index(tlv(3, bytes(4))) + 3
    value = struct.pack("!I", crc32c(header) ^ error)
    return header[:place] + value + header[place + 4 :]
