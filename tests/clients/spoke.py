"""Where the clients run: commands in the namespace of the spoke, with nothing of this machine's environment."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass

from network import PROXY
from proxies import ANY_PORT, DEFAULT_PORT

TIMEOUT = 90


@dataclass
class Output:
    code: int
    text: str

    def __add__(self, more):
        return Output(self.code, f"{self.text}\n{more}")


class Spoke:
    proxy = f"http://{PROXY}:{DEFAULT_PORT}"
    any_proxy = f"http://{PROXY}:{ANY_PORT}"

    def __init__(self, network, authority, root, target):
        self.network = network
        self.ca = str(authority.certificate)
        self.programs = root / "tests/clients/programs"
        self.target = target
        self.directory = network.directory / "spoke"
        self.directory.mkdir()
        self.count = 0

    def scratch(self):
        """A new directory, which is the home of the next command."""
        self.count += 1
        directory = self.directory / str(self.count)
        directory.mkdir()
        return directory

    def venv(self, name, program="python"):
        return str(self.target / "venv" / name / "bin" / program)

    @property
    def environment(self):
        """What most clients read."""
        return {
            "http_proxy": self.proxy,
            "https_proxy": self.proxy,
            "HTTP_PROXY": self.proxy,
            "HTTPS_PROXY": self.proxy,
        }

    def run(self, *words, env=None, cwd=None, stdin=b"", timeout=TIMEOUT):
        cwd = cwd or self.scratch()
        environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8", **(env or {})}
        # Not through a shim that wants a home of its own.
        done = subprocess.run(
            ["ip", "netns", "exec", "spoke", "timeout", str(timeout), *map(str, words)],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        return Output(done.returncode, text + (f"\n(killed after {timeout} s)" if done.returncode == 124 else ""))

    def keep(self, title, output):
        """What a client wrote, for whoever looks into a failure or wants to know what a refusal looks like."""
        with open(self.directory / "outputs.txt", "a") as file:
            file.write(f"== {title}: exit status {output.code}\n{output.text}\n")

    def missing(self, needs):
        for need in needs:
            path = need if need.startswith("/") else None
            if not (pathlib.Path(path).exists() if path else shutil.which(need)):
                return f"{need} is not installed"
        return None


def digest(path):
    path = pathlib.Path(path)
    return f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.exists() else "no file"


def short(text, lines=12):
    kept = [line for line in text.splitlines() if line.strip()]
    return re.sub(r"[^\x20-\x7e\n]", ".", "\n".join(kept[-lines:]))
