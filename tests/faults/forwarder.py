"""A link between two network namespaces that delays, reorders and duplicates.

    forwarder.py NAMESPACE ADDRESS[,ADDRESS...] NAMESPACE ADDRESS[,ADDRESS...]

This kernel may have no netem, so a TUN device on each side and a queue between them do it. Says "ready" once both are
up. Each packet waits 10 to 40 ms, so that neighbours overtake each other; one in fifty comes twice. The dice are the
same in each run."""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001


def tun(namespace, own, other):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN_NO_PI))
    commands = [f"addr add {address}/32 dev tun0" for address in own]
    commands += ["link set tun0 up mtu 1500"] + [f"route add {address}/32 dev tun0 src {own[0]}" for address in other]
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    return device


def main():
    near, near_own, far, far_own = sys.argv[1:]
    near_own, far_own = near_own.split(","), far_own.split(",")
    left, right = tun(near, near_own, far_own), tun(far, far_own, near_own)
    print("ready", flush=True)
    dice, waiting, number = random.Random(1), [], 0
    while True:
        patience = max(0, waiting[0][0] - time.monotonic()) if waiting else 60
        for source in select.select([left, right], [], [], patience)[0]:
            packet = os.read(source, 65536)
            for _ in range(2 if dice.random() < 0.02 else 1):
                number += 1
                due = time.monotonic() + dice.uniform(0.01, 0.04)
                heapq.heappush(waiting, (due, number, right if source == left else left, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, sink, packet = heapq.heappop(waiting)
            os.write(sink, packet)


main()
