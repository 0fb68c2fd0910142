"""gRPC over TLS: one unary call, then a stream both ways, on one channel. Arguments: host:port, CA file."""

import sys

import grpc

with open(sys.argv[2], "rb") as ca:
    credentials = grpc.ssl_channel_credentials(ca.read())
with grpc.secure_channel(sys.argv[1], credentials) as channel:
    print(channel.unary_unary("/lab.Echo/Say")(b"hello", timeout=30).decode())
    words = (f"word {number}".encode() for number in range(100))
    answers = list(channel.stream_stream("/lab.Echo/Chat")(words, timeout=30))
    print(len(answers), answers[-1].decode())
