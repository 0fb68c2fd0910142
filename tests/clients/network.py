"""A spoke VPC, the proxy and the internet as network namespaces, their certificates, and processes in them.

    spoke 10.20.0.2 ---- 10.20.0.10 proxy 10.30.0.1 ---- 10.30.0.2 internet: the origins, and the resolver

The spoke has no route beyond the proxy and no resolver: what a client reaches, it reaches through the proxy, which looks
the name up.
"""

import os
import pathlib
import subprocess
import time

PROXY = "10.20.0.10"
RESOLVER = "169.254.169.253"
# Globally reachable by the registries of IANA, so that `public` is what lets them pass.
WEB, S3, GRPC, WEBSOCKET = "93.184.216.34", "93.184.216.35", "93.184.216.36", "93.184.216.37"
WEB6 = "2600:1f18:7fff:f800::34"
PRIVATE = "10.30.0.2"
# An interface endpoint of S3, which the listener by SNI leads to.
ENDPOINT = "10.30.0.9"

ALLOWED, DENIED = "example.org", "example.net"
S3_ALLOWED, S3_DENIED = "s3.eu-west-1.amazonaws.com", "s3.eu-central-1.amazonaws.com"
ENDPOINT_ALLOWED, ENDPOINT_DENIED = "s3.us-west-2.amazonaws.com", "s3.ap-south-1.amazonaws.com"
# What the spoke's DNS leads to the proxy instead.
OVERRIDDEN = (ENDPOINT_ALLOWED, f"lists.{ENDPOINT_ALLOWED}", f"lists.{ENDPOINT_DENIED}")


def command(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options)


class Network:
    def __init__(self, directory):
        self.directory = directory
        self.processes = []
        os.makedirs("/run/netns", exist_ok=True)
        command("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        # Squid leaves files here when it is killed, and does not start where it finds them.
        command("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
        self.replace("/etc/resolv.conf", "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
        self.replace("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{PROXY} {' '.join(OVERRIDDEN)}\n")
        for name in ("spoke", "proxy", "internet"):
            command("ip", "netns", "add", name)
            command("ip", "-n", name, "link", "set", "lo", "up")
        self.link("spoke", "10.20.0.2/24", f"{PROXY}/24", "eth0")
        self.link("internet", "10.30.0.2/24", "10.30.0.1/24", "net0")
        for address in (WEB, S3, GRPC, WEBSOCKET, RESOLVER, ENDPOINT):
            command("ip", "-n", "internet", "address", "add", f"{address}/32", "dev", "lo")
        command("ip", "-n", "internet", "address", "add", f"{WEB6}/128", "dev", "lo", "nodad")
        command("ip", "-n", "internet", "address", "add", "fe80::2/64", "dev", "eth0", "nodad")
        command("ip", "-n", "proxy", "address", "add", "2600:1f18:7fff:f801::1/64", "dev", "net0", "nodad")
        command("ip", "-n", "internet", "-6", "route", "add", "2600:1f18:7fff:f801::/64", "dev", "eth0")
        command("ip", "-n", "proxy", "route", "add", "default", "via", "10.30.0.2")
        command("ip", "-n", "proxy", "-6", "route", "add", "default", "via", "fe80::2", "dev", "net0")

    def replace(self, path, content):
        """Only in our own mount namespace."""
        file = self.directory / path.replace("/", "-").lstrip("-")
        file.write_text(content)
        command("mount", "--bind", str(file), os.path.realpath(path))

    def link(self, name, address, proxys, device):
        command("ip", "-n", "proxy", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name)
        for namespace, end, at in ((name, "eth0", address), ("proxy", device, proxys)):
            command("ip", "-n", namespace, "address", "add", at, "dev", end)
            command("ip", "-n", namespace, "link", "set", end, "up")

    def start(self, namespace, name, *words, env=None, cwd=None):
        """A process that runs until the suite ends; what it writes is in NAME.log."""
        log = open(self.directory / f"{name}.log", "wb")
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd or self.directory,
        )
        self.processes.append((name, process))
        return process

    def wait_for(self, namespace, name, address, port, seconds=30):
        """Until something listens there; the process that should is called NAME."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            listening = command("ip", "netns", "exec", namespace, "ss", "-Htln", f"sport = :{port}").stdout
            if any(
                f"{host}:{port} " in listening
                for host in (address, f"[{address}]", f"[::ffff:{address}]", "0.0.0.0", "[::]", "*")
            ):
                return
            ended = [process.poll() for other, process in self.processes if other == name]
            if ended and ended[0] is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{name} does not listen on {address} port {port}:\n{self.tail(name)}")

    def tail(self, name, lines=20):
        text = (self.directory / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Authority:
    """A certificate authority of this run."""

    def __init__(self, directory):
        self.directory = directory
        self.certificate = directory / "ca.crt"
        command(
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests of latticegate",
            "-keyout", str(directory / "ca.key"), "-out", str(self.certificate),
        )  # fmt: skip

    def issue(self, name, *names):
        """NAME.crt with the authority behind it, and NAME.key."""
        stem = self.directory / name
        extensions = pathlib.Path(f"{stem}.ext")
        alternatives = ",".join(f"DNS:{name}" for name in names)
        extensions.write_text(
            f"basicConstraints=CA:FALSE\nsubjectAltName={alternatives}\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n"
        )
        command(
            "openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={names[0]}",
            "-keyout", f"{stem}.key", "-out", f"{stem}.csr",
        )  # fmt: skip
        leaf = command(
            "openssl", "x509", "-req", "-in", f"{stem}.csr", "-CA", str(self.certificate), "-CAcreateserial",
            "-CAkey", str(self.directory / "ca.key"), "-days", "2", "-extfile", str(extensions),
        ).stdout  # fmt: skip
        pathlib.Path(f"{stem}.crt").write_text(leaf + self.certificate.read_text())
        return f"{stem}.crt", f"{stem}.key"
