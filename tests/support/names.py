"""A name server for containers, which do not see the machine's /etc/hosts. Run as a program: ADDRESS NAME..."""

import socket
import struct
import sys

_ANSWER = 0x8180  # a response, recursion desired and available
_REFERRAL = b"\xc0\x0c"  # the name that was asked for


def answer(query: bytes, address: str, names: set[str]) -> bytes:
    """To a query for a known name its address, when it is IPv4's that is wanted; to any other an empty answer."""
    labels, position = [], 12
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode())
        position += 1 + length
    question = query[12 : position + 5]
    (kind,) = struct.unpack(">H", question[-4:-2])
    known = ".".join(labels).lower() in names and kind == 1
    head = query[:2] + struct.pack(">HHHHH", _ANSWER, 1, int(known), 0, 0)
    record = _REFERRAL + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address) if known else b""
    return head + question + record


def main() -> None:
    """Answer until killed."""
    address, names = sys.argv[1], set(sys.argv[2:])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        print("names are answered", flush=True)
        while True:
            query, client = server.recvfrom(4096)
            server.sendto(answer(query, address, names), client)


if __name__ == "__main__":
    main()
