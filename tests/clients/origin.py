"""An HTTP/1.1 origin: says what it was asked, serves files, and has git's own server behind it. Arguments: folder, addresses."""

import gzip
import hashlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

BLOCK = hashlib.sha512(b"latticegate").digest() * 1024
FOLDER = pathlib.Path(sys.argv[1])
GIT = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()


# What servers send, each of it legal unless it says otherwise.
OK = b"HTTP/1.1 200 OK\r\n"
RAW = {
    "no-reason": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nwhole",
    "latin-1": "HTTP/1.1 200 Très bien\r\nX-Name: café\r\nContent-Length: 5\r\n\r\nwhole".encode("latin-1"),
    "http-1.0": b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nwhole",
    "http-1.0-kept": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nwhole",
    "large-head": OK
    + b"".join(b"Set-Cookie: c%d=%s\r\n" % (n, b"v" * 3000) for n in range(5))
    + b"Content-Length: 5\r\n\r\nwhole",
    "larger-head": OK
    + b"".join(b"Set-Cookie: c%d=%s\r\n" % (n, b"v" * 3000) for n in range(14))
    + b"Content-Length: 5\r\n\r\nwhole",
    "many-fields": OK + b"".join(b"X-Field-%d: v\r\n" % n for n in range(90)) + b"Content-Length: 5\r\n\r\nwhole",
    "no-content": b"HTTP/1.1 204 No Content\r\nX-End: yes\r\n\r\n",
    "not-modified": b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 5\r\n\r\n',
    "partial": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\nwhole",
    "early-hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    + OK
    + b"Content-Length: 5\r\n\r\nwhole",
    "chunk-extensions": OK + b'Transfer-Encoding: Chunked\r\n\r\n005;a=b;c="d;e"\r\nwhole\r\n0\r\n\r\n',
    "blanks": OK + b"Content-Length: \t 5 \t\r\nX-Empty:\r\nX-None: \r\n\r\nwhole",
    "hop-by-hop": OK
    + b"Connection: X-Secret, close\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nwhole",
    "equal-lengths": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nwhole",
    "folded": OK + b"X-Long: one\r\n two\r\nContent-Length: 5\r\n\r\nwhole",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nwhole",
    # Not legal: two readers may disagree on where these end.
    "length-and-chunked": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
    "unequal-lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nwhole!",
    "cut": OK + b"Content-Length: 50\r\n\r\nwhole",
    "no-http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no-http-kept": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
}


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, address):
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, 80), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Heads and bodies are written in pieces.
    wbufsize = -1

    def answer(self):
        url = urlsplit(self.path)
        kind, _, size = url.path[1:].partition("/")
        if kind == "early":
            return self.early()
        body = Body(self)
        if kind == "git":
            self.git(url, body)
        elif kind == "raw":
            self.raw(RAW[size], kept=size.endswith("-kept"))
        elif kind == "close-next":
            # Says that the connection stays, and closes it a little later, as every server does with one that is idle.
            self.say(200, b"soon closed\n", "text/plain")
            self.wfile.flush()
            time.sleep(0.1)
            self.close_connection = True
        elif kind == "slow":
            time.sleep(3)
            self.say(200, b"at last\n", "text/plain")
        elif kind == "trailers":
            self.trailers(body)
        elif kind == "bytes":
            self.start(200, int(size))
            self.blocks(int(size), self.wfile.write)
        elif kind == "chunked" and self.request_version != "HTTP/1.0":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.blocks(int(size), lambda part: self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part)))
            self.wfile.write(b"0\r\n\r\n")
        elif kind in ("chunked", "until-close"):
            self.send_response(200)
            self.end_headers()
            self.blocks(int(size), self.wfile.write)
            self.close_connection = True
        elif kind == "echo" or self.path == "*" or url.query == "a=b":
            self.echo(body)
        else:
            self.file(url.path)
        body.drain()
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = do_PURGE = answer

    def handle_expect_100(self):
        # An early answer comes instead of it.
        if not self.path.startswith("/early"):
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        return True

    def raw(self, answer, kept):
        """As it stands there, and then the end of the connection, at once or when the other side has ended it."""
        self.wfile.write(answer)
        if kept:
            self.wfile.flush()
            self.connection.settimeout(60)
            self.connection.recv(1)
        self.close_connection = True

    def trailers(self, body):
        """An interim response, and after the body the trailers of the request."""
        self.send_response_only(103)
        self.send_header("Link", "</page.js>; rel=preload")
        self.end_headers()
        content = b"".join(body)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Seen")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n0\r\nX-Seen: %s\r\n\r\n" % (len(content), content, body.trailers.strip()))

    def start(self, status, length, content_type="application/octet-stream"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def say(self, status, content, content_type):
        self.start(status, len(content), content_type)
        if self.command != "HEAD":
            self.wfile.write(content)

    def blocks(self, size, write):
        while size > 0 and self.command != "HEAD":
            part = BLOCK[: min(size, len(BLOCK))]
            write(part)
            size -= len(part)

    def echo(self, body):
        digest, length = hashlib.sha256(), 0
        for part in body:
            digest.update(part)
            length += len(part)
        seen = {
            "method": self.command,
            "target": self.path,
            "version": self.request_version,
            "framing": body.framing,
            "length": length,
            "sha256": digest.hexdigest(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        self.say(200, json.dumps(seen).encode() + b"\n", "application/json")

    def early(self):
        """Answers before the body has come, and takes no more of it than it must for the answer to arrive."""
        self.send_response(413)
        self.send_header("Content-Length", "10")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"too large\n")
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        while self.connection.recv(1 << 16):
            pass
        self.close_connection = True

    def file(self, path):
        file = (FOLDER / path.lstrip("/")).resolve()
        if file.is_dir():
            file = file / "index.html"
        if not file.is_file() or not file.is_relative_to(FOLDER):
            return self.say(404, b"no such file\n", "text/plain")
        kinds = {".html": "text/html", ".json": "application/json", ".js": "text/javascript"}
        self.say(200, file.read_bytes(), kinds.get(file.suffix, "application/octet-stream"))

    def git(self, url, body):
        content = b"".join(body)
        if self.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(FOLDER),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(content)),
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_USER": "somebody",
        }
        done = subprocess.run(
            [f"{GIT}/git-http-backend"], input=content, capture_output=True, env=environment, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200")[:3]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Framing", body.framing)
        self.end_headers()
        self.wfile.write(content)


class Body:
    """The body of a request, part by part, in either framing."""

    def __init__(self, handler):
        self.file = handler.rfile
        self.trailers = b""
        chunked = handler.headers.get("Transfer-Encoding", "").lower() == "chunked"
        self.left = int(handler.headers.get("Content-Length", 0))
        self.framing = "chunked" if chunked else "length" if "Content-Length" in handler.headers else "none"
        self.parts = self.chunks() if chunked else self.rest()

    def __iter__(self):
        return self.parts

    def drain(self):
        for _ in self.parts:
            pass

    def rest(self):
        while self.left > 0:
            part = self.file.read(min(self.left, 1 << 16))
            if not part:
                raise ConnectionError("the body ends early")
            self.left -= len(part)
            yield part

    def chunks(self):
        while (size := int(self.file.readline().split(b";")[0], 16)) > 0:
            yield self.file.read(size)
            self.file.readline()
        while (line := self.file.readline()).strip():
            self.trailers += line


for address in sys.argv[2:]:
    threading.Thread(target=Server(address).serve_forever).start()
