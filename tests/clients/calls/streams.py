"""What stays open: a WebSocket and gRPC, through CONNECT."""

from calls.base import call


def websocket(spoke, url, proxy):
    env = {"https_proxy": proxy, "http_proxy": proxy, "SSL_CERT_FILE": spoke.ca}
    return spoke.run(spoke.venv("clients"), spoke.programs / "websocket_call.py", url, env=env)


@call(
    "websocket",
    "wss, Python's websockets, both ways",
    shows=["100 messages, the last: 99", "1048576 bytes"],
    refused="HTTP 403",
    domain="ws.",
    server="websocket",
)
def wss(spoke, host):
    return websocket(spoke, f"wss://{host}/", spoke.proxy)


@call(
    "websocket",
    "ws by CONNECT to port 80, tunnel: any",
    port=80,
    shows=["100 messages, the last: 99"],
    refused="HTTP 403",
    domain="ws.",
    server="websocket",
)
def ws(spoke, host):
    return websocket(spoke, f"ws://{host}/", spoke.any_proxy)


@call(
    "grpc",
    "a unary call and a stream both ways, https_proxy",
    shows=["said: hello", "100 answers, the last: word 99"],
    refused="403",
    domain="grpc.",
    server="grpc",
)
def grpc(spoke, host):
    env = {**spoke.environment, "GRPC_DNS_RESOLVER": "native"}
    return spoke.run(spoke.venv("core"), spoke.programs / "grpc_call.py", f"{host}:443", spoke.ca, env=env)
