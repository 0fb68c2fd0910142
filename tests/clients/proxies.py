"""The proxies that the clients go through, each with one configuration and a reader of its access log.

Two listeners: 3128 with the defaults, and 3129 with `connect_ports: [80, 443]` and `tunnel: any`, for clients that ask for
plain HTTP by CONNECT. latticegate has one on 443 as well, by SNI, for clients whose DNS leads there. Behind a load balancer these are its ports; those of the proxy, which takes the PROXY header there, are
1000 higher.
"""

import collections
import json
import os
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from network import ENDPOINT, ENDPOINT_ALLOWED, PROXY, RESOLVER

DEFAULT_PORT, ANY_PORT, SNI_PORT = 3128, 3129, 443
BEHIND = 1000
RULE = "names of the spoke"


@dataclass(frozen=True)
class Entry:
    """What one line of an access log says of one tunnel or one absolute-form request."""

    method: str
    host: str
    port: int
    served: bool
    reason: str
    rule: str | None


class Proxy:
    listeners = (DEFAULT_PORT, ANY_PORT)

    def __init__(self, directory, balanced):
        self.log = directory / "access.log"
        self.directory = directory
        self.balanced = balanced
        self.ports = [port + (BEHIND if balanced else 0) for port in self.listeners]

    def started(self, network, *words):
        """Runs it, and the load balancer in front of it, until both accept connections."""
        network.start("proxy", self.name, *words)
        for port in self.ports:
            network.wait_for("proxy", self.name, PROXY, port)
        if self.balanced:
            configuration = self.directory / "haproxy.cfg"
            listen = "".join(
                f"listen {port}\n    bind {PROXY}:{port}\n    server proxy {PROXY}:{port + BEHIND} send-proxy-v2\n"
                for port in self.listeners
            )
            configuration.write_text(
                f"defaults\n    mode tcp\n    timeout connect 3s\n    timeout client 120s\n    timeout server 120s\n{listen}"
            )
            network.start("proxy", "haproxy", "haproxy", "-db", "-f", configuration)
            for port in self.listeners:
                network.wait_for("proxy", "haproxy", PROXY, port)

    def logged(self, count, wanted, seconds=5):
        """Entries of the log after the first COUNT, as soon as one of them is WANTED, or time is up."""
        deadline = time.monotonic() + seconds
        while True:
            entries = self.entries()[count:]
            if any(wanted(entry) for entry in entries) or time.monotonic() > deadline:
                return entries
            time.sleep(0.02)

    def lines(self):
        # The last one may be half written.
        return self.log.read_bytes().decode(errors="replace").split("\n")[:-1] if self.log.exists() else []


class Latticegate(Proxy):
    name = "latticegate"
    listeners = (DEFAULT_PORT, ANY_PORT, SNI_PORT)

    def start(self, network):
        header = "required" if self.balanced else "off"
        trusted = f"proxy_protocol: {{ trusted: [{PROXY}/32] }}\n" if self.balanced else ""
        (self.directory / "latticegate.yaml").write_text(f"""\
listeners:
  - name: egress
    bind: "{PROXY}:{self.ports[0]}"
    protocol: forward
    proxy_protocol: {header}
    upstream: {{ allowed_networks: [public] }}
  - name: any
    bind: "{PROXY}:{self.ports[1]}"
    protocol: forward
    proxy_protocol: {header}
    connect_ports: [80, 443]
    tunnel: any
    upstream: {{ allowed_networks: [public] }}
  - name: endpoints
    bind: "{PROXY}:{self.ports[2]}"
    protocol: tls
    upstream_port: 443
    proxy_protocol: {header}
    upstream: {{ allowed_networks: [{ENDPOINT}/32] }}
{trusted}policy: ipcontrol.yaml
dns: {{ server: "{RESOLVER}:53" }}
health: {{ bind: "127.0.0.1:9901" }}
admin: {{ bind: "127.0.0.1:9900" }}
access_log: {{ output: ./access.log }}
""")
        (self.directory / "ipcontrol.yaml").write_text(f"""\
rules:
  - name: {RULE}
    allow: 10.20.0.0/24
    to: ["*.example.org", s3.eu-west-1.amazonaws.com, "*.s3.eu-west-1.amazonaws.com", {ENDPOINT_ALLOWED}, "*.{ENDPOINT_ALLOWED}"]
""")
        self.started(network, os.environ["GATE_BINARY"], "run", "--config", self.directory / "latticegate.yaml")

    def entries(self):
        return [entry for line in self.lines() for entry in self.entry(json.loads(line))]

    def entry(self, line):
        if "request" in line:
            request = line["request"]
            served = request.get("status", 500) < 500 and "reason" not in request
            reason = request.get("reason", str(request.get("status")))
            yield Entry(request["method"], request.get("host", ""), request.get("port", 0), served, reason, line.get("rule"))
        elif "port" in line.get("forward", {}) and (line["forward"]["method"] == "CONNECT" or line["outcome"] != "relayed"):
            forward = line["forward"]
            served = line["outcome"] == "relayed"
            yield Entry(
                forward["method"], line.get("name", ""), forward["port"], served, line["reason"], line.get("rule")
            )
        elif line["listener"] == "endpoints":
            yield Entry("TLS", line.get("name", ""), SNI_PORT, line["outcome"] == "relayed", line["reason"], line.get("rule"))
        elif line["outcome"] == "refused":
            # A target that is no name is logged as it was written.
            host, _, port = line.get("name", "").rpartition(":")
            yield Entry("UNKNOWN", host, int(port) if port.isdigit() else 0, False, line["reason"], line.get("rule"))

    def contradictions(self):
        """What the log as a whole gets wrong: each connection has one line, and each of its requests has one."""
        lines = [json.loads(line) for line in self.lines()]
        closed = collections.Counter(line["id"] for line in lines if "request" not in line)
        requests = collections.Counter(line["id"] for line in lines if "request" in line)
        faults = [f"{count} lines of the connection {id}" for id, count in closed.items() if count > 1]
        faults += [f"requests of the connection {id}, which has no line" for id in requests if id not in closed]
        for line in lines:
            told = line.get("forward", {}).get("requests", 0)
            if "request" not in line and told != requests[line["id"]]:
                faults.append(
                    f"the connection {line['id']} says {told} requests, and {requests[line['id']]} have lines"
                )
        return faults

    def complain(self, entry):
        """What is wrong with the entry of a request that was served, if anything."""
        if RULE not in (entry.rule or ""):
            return f"the log names the rule {entry.rule}, not {RULE}"
        return None


class Squid(Proxy):
    name = "squid"

    def start(self, network):
        header = " require-proxy-header" if self.balanced else ""
        # It gives up root.
        for path in (self.directory, *self.directory.parents):
            if path.is_relative_to(self.directory.parent):
                path.chmod(0o777)
        configuration = self.directory / "squid.conf"
        configuration.write_text(f"""\
http_port {PROXY}:{self.ports[0]} name=egress{header}
http_port {PROXY}:{self.ports[1]} name=any{header}
acl balancer src {PROXY}
proxy_protocol_access allow balancer
acl any myportname any
acl spokes src 10.20.0.0/24
acl allowed dstdomain .example.org .s3.eu-west-1.amazonaws.com
acl tls_port port 443
acl web_port port 80
http_access deny CONNECT !tls_port !any
http_access deny !CONNECT !web_port
http_access allow spokes allowed
http_access deny all

cache deny all
max_filedescriptors 4096
dns_nameservers {RESOLVER}
access_log stdio:{self.log} squid
cache_log {self.directory}/cache.log
cache_store_log none
netdb_filename none
pid_filename none
coredump_dir none
pinger_enable off
shutdown_lifetime 0 seconds
forwarded_for delete
""")
        self.started(network, "squid", "-n", "latticegateclients", "-N", "-f", configuration)

    def contradictions(self):
        return []

    def entries(self):
        entries = []
        for line in self.lines():
            fields = line.split()
            code, status = fields[3].split("/")
            method, url = fields[5:7]
            if url.startswith("error:"):
                continue
            parts = urlsplit(url if "//" in url else f"//{url}")
            served = not re.search("DENIED|^NONE", code) and int(status) < 500
            entries.append(
                Entry(
                    method, parts.hostname or "", parts.port or 80, served, "denied" if "DENIED" in code else code, None
                )
            )
        return entries

    def complain(self, entry):
        return None
