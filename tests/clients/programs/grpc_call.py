"""gRPC through the proxy of the environment: a unary call, then a stream both ways. Arguments: host:port, CA file."""

import sys
from pathlib import Path

import grpc

credentials = grpc.ssl_channel_credentials(Path(sys.argv[2]).read_bytes())
with grpc.secure_channel(sys.argv[1], credentials) as channel:
    print("said:", channel.unary_unary("/clients.Echo/Say")(b"hello", timeout=20).decode())
    words = (f"word {number}".encode() for number in range(100))
    answers = list(channel.stream_stream("/clients.Echo/Chat")(words, timeout=20))
    print(f"{len(answers)} answers, the last: {answers[-1].decode()}")
