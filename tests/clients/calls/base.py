"""One thing that a client does, once with a name that is allowed and once with one that is denied."""

import re
from dataclasses import dataclass

from network import ALLOWED, DENIED
from spoke import short

CALLS = []
DENIALS = {"name_denied", "denied"}


@dataclass
class Call:
    client: str
    what: str
    function: object
    hosts: tuple
    method: str
    port: int
    shows: tuple
    refused: str | None
    reasons: set
    logs: set | None
    needs: tuple
    server: str | None
    only: str | None
    unless: object

    def skipped(self, spoke, proxy, missing):
        if self.only and proxy.name != self.only:
            return f"{self.only} only"
        return spoke.missing(self.needs) or missing.get(self.server) or (self.unless and self.unless(spoke))

    def steps(self):
        return ([self.allowed] if self.shows else []) + ([self.denied] if self.refused else [])

    def allowed(self, spoke, proxy):
        output, entries = self.made(spoke, proxy, self.hosts[0])
        faults = []
        if output.code != 0:
            faults.append(f"{self.hosts[0]}: exit status {output.code}")
        faults += [
            f"{self.hosts[0]}: the client does not show {show!r}" for show in self.shows if not found(show, output.text)
        ]
        if not entries:
            faults.append(f"{self.hosts[0]}: no line of the access log has {self.method} and port {self.port}")
        for entry in entries:
            if self.logs:
                if proxy.name != "squid" and entry.reason not in self.logs:
                    faults.append(f"{self.hosts[0]}: the access log says {entry}, not {self.logs}")
            elif not entry.served:
                faults.append(f"{self.hosts[0]}: the access log says {entry}")
            elif complaint := proxy.complain(entry):
                faults.append(f"{self.hosts[0]}: {complaint}")
        return faults + ([short(output.text)] if faults else [])

    def denied(self, spoke, proxy):
        output, entries = self.made(spoke, proxy, self.hosts[1])
        faults = []
        if not found(self.refused, output.text):
            faults.append(f"{self.hosts[1]}: the client does not show {self.refused!r} (exit status {output.code})")
        faults += [
            f"{self.hosts[1]}: content of the origin: {show!r}" for show in self.shows if found(show, output.text)
        ]
        if not entries:
            faults.append(f"{self.hosts[1]}: no line of the access log has {self.method} and port {self.port}")
        faults += [
            f"{self.hosts[1]}: the access log says {entry}"
            for entry in entries
            if entry.served or entry.reason not in self.reasons
        ]
        return faults + ([short(output.text)] if faults else [])

    def made(self, spoke, proxy, host):
        """Calls, and finds what the log says of it."""
        count = len(proxy.entries())

        def ours(entry):
            return entry.host == host and re.fullmatch(self.method, entry.method) and entry.port == self.port

        output = self.function(spoke, host)
        spoke.keep(f"{self.client}, {self.what}, {host}", output)
        return output, [entry for entry in proxy.logged(count, ours) if ours(entry)]


def found(pattern, text):
    return re.search(pattern, text, re.MULTILINE)


def call(client, what, *, method="CONNECT", port=None, shows=(), refused=None, reasons=DENIALS, logs=None, needs=(), hosts=None,
         domain="", server=None, only=None, unless=None):  # fmt: skip
    """Registers a function of (spoke, host). SHOWS: what its output must match where the name is allowed, REFUSED: where it
    is denied; without one of them that half is left out. LOGS: the reasons that the log gives where the name is allowed and
    the answer does not come whole. UNLESS says why it cannot be run here, if so."""

    def register(function):
        slug = f"{client}-{sum(1 for other in CALLS if other.client == client) + 1}"
        both = hosts or (f"{slug}.{domain}{ALLOWED}", f"{slug}.{domain}{DENIED}")
        shown = (shows,) if isinstance(shows, str) else tuple(shows)
        at = port or (443 if method.startswith("CONNECT") else 80)
        CALLS.append(
            Call(client, what, function, both, method, at, shown, refused, reasons, logs, needs, server, only, unless)
        )
        return function

    return register
