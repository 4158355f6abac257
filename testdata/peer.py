"""Servers and clients of make.sh: python3 peer.py KIND ARGUMENTS.

dns ADDRESS            answer A, AAAA and TXT queries on port 53
resolve ADDRESS N      send N DNS queries, each after the answer to the last
echo ADDRESS PORT      return UDP datagrams
udp ADDRESS PORT N MAX send N datagrams of up to MAX bytes to echo, each after the last returned
sink ADDRESS PORT      accept TCP connections and discard their data
bulk ADDRESS PORT N    send N bytes over TCP
vlan IFACE NAME ID     create NAME, an 802.1Q interface on IFACE, with a TAP device,
                       for kernels without CONFIG_VLAN_8021Q
"""

import fcntl
import os
import random
import select
import socket
import struct
import sys

TIMEOUT = 10  # seconds until an answer must arrive


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def bound(kind, address, port):
    s = socket.socket(family(address), kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    return s


def dns(address):
    s = bound(socket.SOCK_DGRAM, address, 53)
    while True:
        question, client = s.recvfrom(512)
        end = question.index(0, 12) + 5  # name, type, class
        kind = struct.unpack(">H", question[end - 4 : end - 2])[0]
        host = question[13 : 13 + question[12]]
        number = sum(host) % 250 + 1
        data = {
            1: socket.inet_aton("192.0.2.%d" % number),
            28: socket.inet_pton(socket.AF_INET6, "2001:db8::%x" % number),
            16: bytes([len(host)]) + host,
        }.get(kind)
        header = question[:2] + struct.pack(">HHHHH", 0x8580 if data else 0x8583, 1, 1 if data else 0, 0, 0)
        answer = struct.pack(">HHHIH", 0xC00C, kind, 1, 300, len(data)) + data if data else b""
        s.sendto(header + question[12:end] + answer, client)


def resolve(address, count):
    pick = random.Random(1)
    for i in range(int(count)):
        s = socket.socket(family(address), socket.SOCK_DGRAM)
        s.settimeout(TIMEOUT)
        name = "".join(bytes([len(p)]).decode() + p for p in ("host%d" % pick.randrange(1000), "example", "net"))
        kind = pick.choice([1, 1, 1, 28, 28, 16, 15])
        s.sendto(struct.pack(">HHHHHH", i, 0x0100, 1, 0, 0, 0) + name.encode() + b"\0" + struct.pack(">HH", kind, 1), (address, 53))
        s.recv(512)
        s.close()


def echo(address, port):
    s = bound(socket.SOCK_DGRAM, address, int(port))
    while True:
        data, client = s.recvfrom(65535)
        s.sendto(data, client)


def udp(address, port, count, most):
    pick = random.Random(2)
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.settimeout(TIMEOUT)
    for _ in range(int(count)):
        s.sendto(pick.randbytes(pick.randint(1, int(most))), (address, int(port)))
        s.recv(65535)


def sink(address, port):
    s = bound(socket.SOCK_STREAM, address, int(port))
    s.listen()
    while True:
        connection, _ = s.accept()
        while connection.recv(65536):
            pass
        connection.close()


def bulk(address, port, count):
    s = socket.create_connection((address, int(port)), TIMEOUT)
    s.sendall(random.Random(3).randbytes(int(count)))
    s.shutdown(socket.SHUT_WR)
    s.recv(1)  # the end: the server has read everything


def vlan(iface, name, vid):
    TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
    SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING, VLAN_VALID = 263, 8, 4, 1 << 4
    tag = struct.pack(">HH", 0x8100, int(vid))
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    raw.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    raw.bind((iface, 3))
    # Promiscuous: frames to the TAP's address are not addressed to IFACE.
    PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 1, 1
    raw.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8x", socket.if_nametoindex(iface), PACKET_MR_PROMISC, 0))
    while True:
        for ready in select.select([tap, raw], [], [])[0]:
            if ready == tap:
                frame = os.read(tap, 65535)
                raw.send(frame[:12] + tag + frame[12:])
                continue
            frame, control, _, sender = raw.recvmsg(65535, 256)
            if sender[2] == PACKET_OUTGOING:
                continue
            for level, kind, data in control:
                if level == SOL_PACKET and kind == PACKET_AUXDATA:
                    status, tci = struct.unpack("=I", data[:4])[0], struct.unpack("=H", data[16:18])[0]
                    if status & VLAN_VALID and tci & 0xFFF == int(vid):
                        os.write(tap, frame)


if __name__ == "__main__":
    kinds = {f.__name__: f for f in (dns, resolve, echo, udp, sink, bulk, vlan)}
    if len(sys.argv) < 2 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    try:
        kinds[sys.argv[1]](*sys.argv[2:])
    except (OSError, TypeError, ValueError) as e:
        sys.exit("peer.py %s: %s" % (" ".join(sys.argv[1:]), e))
