"""A FOU port whose packets go on directly, without a protocol to go on to."""

import socket
import struct

GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
FOU_CMD_ADD, FOU_CMD_DEL = 1, 2
FOU_ATTR_PORT, FOU_ATTR_AF, FOU_ATTR_TYPE = 1, 2, 4


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def ask(link: socket.socket, family: int, command: int, body: bytes, flags: int = 5) -> bytes:
    generic = struct.pack("<BBH", command, 1, 0) + body
    link.send(struct.pack("<IHHII", 16 + len(generic), family, flags, 1, 0) + generic)
    return link.recv(65536)


def error_of(answer: bytes) -> int:
    return -struct.unpack_from("<i", answer, 16)[0] if struct.unpack_from("<H", answer, 4)[0] == 2 else 0


link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
link.bind((0, 0))
answer = ask(link, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, b"fou\0"), 1)
at, family = 20, 0
while at + 4 <= len(answer) and not family:
    size, kind = struct.unpack_from("<HH", answer, at)
    family = struct.unpack_from("<H", answer, at + 4)[0] if kind == CTRL_ATTR_FAMILY_ID else 0
    at += size + -size % 4
port = attribute(FOU_ATTR_PORT, struct.pack(">H", 5555)) + attribute(FOU_ATTR_AF, bytes([socket.AF_INET]))
body = port + attribute(FOU_ATTR_TYPE, b"\1")  # 1: FOU_ENCAP_DIRECT
code = error_of(ask(link, family, FOU_CMD_ADD, body))
ask(link, family, FOU_CMD_DEL, port)
print("accepted" if code == 0 else f"errno {code}")
