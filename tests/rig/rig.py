"""What tests/reliability and tests/soak share: an upstream and a resolver in processes of their own, the programs
under test with their configurations, and what /proc tells about them."""

import asyncio
import contextlib
import multiprocessing
import os
import pathlib
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GATE, PORT, HTTP_PORT, FORWARD_PORT = "127.90.0.1", 8443, 8080, 3128
HEALTH, ADMIN = 9901, 9900
UPSTREAM, UPSTREAM2, UPSTREAM_PORT, UPSTREAM_HTTP_PORT = "127.90.0.10", "127.90.0.11", 7443, 7080
RESOLVER, RESOLVER_PORT = "127.90.0.53", 5353
ANSWER = b"the answer of the upstream"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


def hello(name):
    server_name = struct.pack("!HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    versions = bytes.fromhex("002b0003020304")
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    extensions = server_name + versions
    body += struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


HELLO = hello(b"orders.example.com")
# PROXY v2: 192.0.2.1:40000 to 198.51.100.2:443.
HEADER = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 198, 51, 100, 2, 0x9C, 0x40, 1, 0xBB])


async def ask(patience=5, linger=0.0):
    """One client: served, refused (before it was connected), reset (after), or silent."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(GATE, PORT), patience)
    except ConnectionRefusedError:
        return "refused"
    except (OSError, asyncio.TimeoutError):
        return "silent"
    try:
        writer.write(HEADER + HELLO)
        await asyncio.wait_for(reader.readexactly(len(ANSWER)), patience)
        await asyncio.sleep(linger)
        return "served"
    except asyncio.TimeoutError:
        return "silent"
    except (OSError, asyncio.IncompleteReadError):
        return "reset"
    finally:
        writer.close()


class Services:
    """Upstream and resolver."""

    def __enter__(self):
        self.alternate = multiprocessing.Value("b", 0)
        self.processes = [
            multiprocessing.Process(target=upstream, daemon=True),
            multiprocessing.Process(target=resolver, args=(self.alternate,), daemon=True),
        ]
        for process in self.processes:
            process.start()
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.join()


def upstream():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

    async def serve(reader, writer):
        with contextlib.suppress(OSError):
            while True:
                request = await reader.read(1 << 16)
                if not request:
                    break
                if request.endswith(b"reset"):
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    break
                writer.write(bytes(1 << 20) if request.endswith(b"bulk") else ANSWER)
                await writer.drain()
        writer.close()

    async def serve_http(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(RESPONSE)
                await writer.drain()
        writer.close()

    async def run():
        servers = [
            await asyncio.start_server(speak, ip, port, backlog=4096)
            for ip in (UPSTREAM, UPSTREAM2)
            for speak, port in ((serve, UPSTREAM_PORT), (serve_http, UPSTREAM_HTTP_PORT))
        ]
        await asyncio.gather(*(server.serve_forever() for server in servers))

    asyncio.run(run())


def resolver(alternate):
    """Every name is the upstream, or the other one, for a second; names below `invalid` do not exist."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((RESOLVER, RESOLVER_PORT))
    while True:
        query, client = udp.recvfrom(4096)
        end = query.index(b"\0", 12) + 5
        question, found = query[12:end], b"\x07invalid\0" not in query and b"latticegate" not in query
        flags = 0x8180 if found else 0x8183
        answer = struct.pack("!HHHHHH", *struct.unpack("!H", query[:2]), flags, 1, int(found), 0, 0) + question
        if found:
            address = UPSTREAM2 if alternate.value else UPSTREAM
            answer += b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
        udp.sendto(answer, client)


class Program:
    """nginx, haproxy or latticegate, configured for the same path."""

    def __init__(self, name, directory, cache_size=20_000):
        self.name, self.directory, self.cache_size = name, directory / name, cache_size
        self.directory.mkdir()
        self.reload_signal = {"nginx": signal.SIGHUP, "haproxy": signal.SIGUSR2}.get(name)
        getattr(self, name)()

    def nginx(self):
        module = "/usr/lib/nginx/modules/ngx_stream_module.so"
        (self.directory / "nginx.conf").write_text(f"""load_module {module};
daemon off; user root; worker_processes 2; pid {self.directory}/pid; error_log {self.directory}/error.log crit;
events {{ worker_connections 10000; }}
stream {{
    preread_timeout 60s;
    server {{ listen {GATE}:{PORT} proxy_protocol backlog=4096; ssl_preread on; proxy_pass {UPSTREAM}:{UPSTREAM_PORT}; }}
}}
""")
        self.command = [tool("nginx"), "-c", f"{self.directory}/nginx.conf", "-e", f"{self.directory}/error.log"]

    def haproxy(self):
        (self.directory / "haproxy.cfg").write_text(f"""global
    nbthread 2
defaults
    mode tcp
    timeout connect 3s
    timeout client 60s
    timeout server 60s
frontend tls
    bind {GATE}:{PORT} accept-proxy backlog 4096
    tcp-request inspect-delay 60s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    default_backend upstream
backend upstream
    server upstream {UPSTREAM}:{UPSTREAM_PORT}
""")
        self.command = [tool("haproxy"), "-W", "-db", "-f", f"{self.directory}/haproxy.cfg"]

    def latticegate(self):
        (self.directory / "latticegate.yaml").write_text(f"""listeners:
- {{ name: tls, bind: "{GATE}:{PORT}", protocol: tls, upstream_port: {UPSTREAM_PORT} }}
- {{ name: http, bind: "{GATE}:{HTTP_PORT}", protocol: http, upstream_port: {UPSTREAM_HTTP_PORT} }}
- {{ name: forward, bind: "{GATE}:{FORWARD_PORT}", protocol: forward, connect_ports: [{UPSTREAM_PORT}], http_ports: [{UPSTREAM_HTTP_PORT}] }}
proxy_protocol: {{ trusted: [127.0.0.0/8] }}
upstream: {{ allowed_networks: [127.90.0.0/16] }}
dns: {{ server: "{RESOLVER}:{RESOLVER_PORT}", ipv6: off, cache_size: {self.cache_size} }}
timeouts: {{ handshake: 60s, connect: 3s, idle: 60s }}
limits: {{ half_open_per_client: 20000, half_open: 11000, connections: 12000 }}
drain: {{ delay: 2s, timeout: 60s }}
workers: 2
health: {{ bind: "{GATE}:{HEALTH}" }}
admin: {{ bind: "{GATE}:{ADMIN}" }}
access_log: {{ output: {self.directory}/access.log }}
""")
        self.write_list()
        binary = os.environ.get("LATTICEGATE")
        if not binary:
            subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
            binary = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "latticegate"
        self.command = [str(binary), "run", "--config", f"{self.directory}/latticegate.yaml"]

    def write_list(self):
        # Another one each time.
        comment = f"# {time.monotonic_ns()}\n"
        (self.directory / "ipcontrol.yaml").write_text(f"{comment}rules:\n- {{ allow: 192.0.2.0/24, to: any }}\n- deny: all\n")

    def version(self):
        flag = "-v" if self.name != "latticegate" else "--version"
        told = subprocess.run([self.command[0], flag], capture_output=True, text=True)
        words = (told.stdout + told.stderr).replace("/", " ").split()
        return next((word for word in words if word[0].isdigit()), "?")

    @contextlib.contextmanager
    def started(self, files):
        with open(self.directory / "said", "ab") as said:
            limit = ["prlimit", f"--nofile={files}:{files}"]
            child = subprocess.Popen(limit + self.command, stdout=said, stderr=said, start_new_session=True)
        self.pid = child.pid
        try:
            deadline = time.monotonic() + 20
            while not served():
                if child.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{self.name} does not serve:\n{(self.directory / 'said').read_text()}")
                time.sleep(0.05)
            yield self
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            while group(child.pid):
                time.sleep(0.01)

    def reload(self):
        if self.reload_signal:
            os.kill(self.pid, self.reload_signal)
        else:
            self.write_list()


def served():
    """Whether one client is served, without the event loop."""
    try:
        with socket.create_connection((GATE, PORT), 1) as client:
            client.settimeout(1)
            client.sendall(HEADER + HELLO)
            return client.recv(len(ANSWER)) == ANSWER
    except OSError:
        return False


def tool(name):
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        raise SystemExit(f"{name} is not here: run tests/setup")
    return found


def stat(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return text.rsplit(") ", 1)[1].split()


def group(leader):
    """The processes of one session that still run."""
    pids = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = stat(path.name)
            if int(fields[3]) == leader and fields[0] != "Z":
                pids.append(int(path.name))
    return pids


def cpu(leader):
    """Of all its processes so far, in ticks of 10 ms."""
    return sum(int(fields[11]) + int(fields[12]) for fields in map(stat, group(leader)))


def resident(leader):
    """Of all its processes, in KiB."""
    total = 0
    for pid in group(leader):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total
