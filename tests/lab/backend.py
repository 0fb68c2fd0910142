"""What stands behind the lab's nginx: says what it was sent, sums bodies, streams, verifies SigV4, speaks gRPC.

    backend.py            serve HTTP on 127.0.0.1:7000 and gRPC (cleartext HTTP/2) on 127.0.0.1:7001
    backend.py stream N   write the N bytes that /stream?N answers
"""

import hashlib
import http.server
import json
import os
import queue
import sys
import urllib.parse
from concurrent import futures

BLOCK = 1 << 20
EVENTS = queue.Queue()


def stream(length):
    """`length` bytes of which no two blocks are alike, so that a lost, doubled or swapped one is seen."""
    body = hashlib.shake_256(b"latticegate").digest(BLOCK - 8)
    for number in range(-(-length // BLOCK)):
        block = number.to_bytes(8, "big") + body
        yield block[: length - number * BLOCK]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/stream":
            self.start(200, int(query))
            for block in stream(int(query)):
                self.wfile.write(block)
        elif path == "/events":
            self.events()
        elif path == "/signed":
            self.signed()
        else:
            self.echo()

    def do_POST(self):
        path = self.path.partition("?")[0]
        if path == "/sum":
            self.sum()
        elif path == "/events":
            EVENTS.put(b"".join(self.body()))
            self.answer(204, b"")
        elif path == "/signed":
            self.signed()
        else:
            self.echo()

    do_PUT = do_POST

    def echo(self):
        body = b"".join(self.body()).decode("latin-1")
        headers = {name.lower(): value for name, value in self.headers.items()}
        said = {"method": self.command, "path": self.path, "headers": headers, "body": body}
        self.answer(200, json.dumps(said).encode())

    def sum(self):
        digest, length = hashlib.sha256(), 0
        for chunk in self.body():
            digest.update(chunk)
            length += len(chunk)
        self.answer(200, f"{length} {digest.hexdigest()}\n".encode())

    def events(self):
        """Each event is sent when a POST asks for it: a client that has seen it proves that nothing waited."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            event = EVENTS.get(timeout=60)
            self.wfile.write(b"data: " + event + b"\n\n")
            if event == b"last":
                break
        self.close_connection = True

    def signed(self):
        body = b"".join(self.body())
        wrong = verify(self.command, self.path, self.headers, body)
        self.answer(403 if wrong else 200, (wrong or "signature verified").encode() + b"\n")

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                while size:
                    chunk = self.rfile.read(min(size, BLOCK))
                    size -= len(chunk)
                    yield chunk
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                chunk = self.rfile.read(min(left, BLOCK))
                if not chunk:
                    raise ConnectionError(f"{left} bytes of the body are missing")
                left -= len(chunk)
                yield chunk

    def answer(self, status, body):
        self.start(status, len(body))
        self.wfile.write(body)

    def start(self, status, length):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_):
        pass


def verify(method, path, headers, body):
    """What is wrong with a request's signature, computed anew by botocore from what arrived; None if nothing."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    scheme, _, fields = headers.get("Authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return "not signed"
    fields = dict(field.strip().split("=", 1) for field in fields.split(","))
    key, date, region, service, _ = fields["Credential"].split("/")
    if service != "vpc-lattice-svcs":
        return f"signed for the service {service}"
    if headers.get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD":
        return "x-amz-content-sha256 is not UNSIGNED-PAYLOAD"
    if key != os.environ["ACCESS_KEY"]:
        return "unknown access key"
    signed = {name: headers[name] for name in fields["SignedHeaders"].split(";")}
    parts = urllib.parse.urlsplit(f"https://{headers['Host']}{path}")
    params = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    request = AWSRequest(method, parts._replace(query="").geturl(), signed, body, params)
    request.context["timestamp"] = headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials(key, os.environ["SECRET_KEY"]), service, region)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if expected != fields["Signature"]:
        return "the signature does not match:\n" + auth.canonical_request(request)
    return None


def serve():
    import grpc

    calls = {
        "Say": grpc.unary_unary_rpc_method_handler(lambda said, _: b"echo: " + said),
        "Chat": grpc.stream_stream_rpc_method_handler(lambda said, _: (b"echo: " + one for one in said)),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lab.Echo", calls),))
    server.add_insecure_port("127.0.0.1:7001")
    server.start()
    http.server.ThreadingHTTPServer(("127.0.0.1", 7000), Handler).serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["stream"]:
        for block in stream(int(sys.argv[2])):
            sys.stdout.buffer.write(block)
    else:
        serve()
