"""A WebSocket through the proxy of the environment: many small messages and a large one. Argument: URL."""

import sys

from websockets.sync.client import connect

with connect(sys.argv[1], open_timeout=20, max_size=None) as connection:
    for number in range(100):
        connection.send(str(number))
        last = connection.recv(timeout=20)
    print(f"100 messages, the last: {last}")
    connection.send(b"x" * (1 << 20))
    print(f"{len(connection.recv(timeout=20))} bytes")
