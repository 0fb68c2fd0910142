"""gRPC over TLS: answers a call, and a stream word by word. Arguments: host:port, certificate, key."""

import sys
from concurrent import futures
from pathlib import Path

import grpc

address, certificate, key = sys.argv[1:]


def chat(words, _):
    yield from words


handlers = {
    "Say": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
}
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("clients.Echo", handlers),))
pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
if not server.add_secure_port(address, grpc.ssl_server_credentials([pair])):
    sys.exit(f"cannot listen on {address}")
server.start()
server.wait_for_termination()
