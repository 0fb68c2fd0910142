"""Clients for the page to show: many that stay open, and some that come and go, are refused, or write what could do harm
where a name belongs."""

import asyncio
import contextlib
import random
import struct

from rig import ANSWER, GATE, HEADER, HELLO, PORT, hello

# Where HTML, a terminal or a reader could be misled. No host name has such characters, so these clients are refused, and the
# page shows what they wrote.
HOSTILE = [
    b"<script>hacked=1</script>",
    b"<img src=x onerror=hacked=1>",
    b"\"'><svg onload=hacked=1>",
    b"</td></table><h1 id=hacked>",
    "\u202emoc.elpmaxe.\u2066evil\u2069".encode(),
    b"\x1b[31mred\x07\0\x9b",
    b"javascript:hacked=1",
    "\ufeffzero\u200bwidth\u00ad".encode(),
    b"x" * 5000,
    b"{{7*7}}${7*7}&lt;b&gt;",
]  # fmt: skip


def header(ip, port):
    """PROXY v2 of this client."""
    return HEADER[:16] + bytes(ip) + HEADER[20:24] + struct.pack("!H", port) + HEADER[26:]


async def stay(number, opened, quiet):
    """A client that is open until the end, and moves a little now and then; one of ten a megabyte."""
    reader, writer = await asyncio.open_connection(GATE, PORT)
    writer.write(header([192, 0, 2, number % 250], 20000 + number) + hello(b"service%d.example.com" % (number % 40)))
    await reader.readexactly(len(ANSWER))
    opened.append(writer)
    # On a machine that is too slow for so many, some are closed as idle.
    with contextlib.suppress(OSError):
        while True:
            await asyncio.sleep(random.uniform(1, 30))
            if quiet.is_set():
                continue
            writer.write(b"bulk" if number % 10 == 0 else b"more")
            await reader.read(1 << 20)


async def come_and_go(quiet):
    while not quiet.is_set():
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(GATE, PORT)
            kind = random.randrange(8)
            if kind == 0:
                writer.write(header([203, 0, 113, random.randrange(99)], 1) + HELLO)
            elif kind == 1:
                writer.write(HEADER + hello(b"x%d.invalid" % random.randrange(1000)))
            elif kind == 2:
                writer.write(HEADER + hello(random.choice(HOSTILE)))
            else:
                writer.write(header([192, 0, 2, random.randrange(250)], 1) + hello(b"short%d.example.com" % kind))
                await reader.readexactly(len(ANSWER))
                writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        await asyncio.sleep(random.uniform(0.01, 0.1))


def run(connections, ready, quiet):
    """In a process of its own. Sets `ready` once so many are open; once `quiet` is set they say nothing more."""

    async def all_of_them():
        opened, tasks = [], []
        for number in range(connections):
            tasks.append(asyncio.create_task(stay(number, opened, quiet)))
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        while len(opened) < connections:
            await asyncio.sleep(0.1)
        ready.set()
        await asyncio.gather(*tasks, *(come_and_go(quiet) for _ in range(4)))

    asyncio.run(all_of_them())
