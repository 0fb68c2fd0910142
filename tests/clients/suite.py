"""The suite behind tests/clients/run, which says what it does and makes the namespaces that it runs in."""

import argparse
import os
import pathlib
import re
import shutil
import sys
import time
import traceback
from types import SimpleNamespace

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

import calls
from network import Authority, Network
from proxies import Latticegate, Squid
from spoke import Spoke
import origins


def main():
    arguments = parse()
    if arguments.list:
        for call in arguments.calls:
            print(f"{call.client:10} {call.what}")
    if arguments.list or arguments.check_arguments:
        return 0
    begun = time.monotonic()
    directory = TARGET / "clients" / arguments.proxy
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    network = Network(directory)
    authority = Authority(directory)
    missing = origins.start(network, authority, ROOT, TARGET / "venv")
    logs = directory / "proxy"
    logs.mkdir()
    proxy = {"squid": Squid, "latticegate": Latticegate}[arguments.proxy](logs, arguments.balancer)
    proxy.start(network)
    print(f"{arguments.proxy}: set-up in {time.monotonic() - begun:.0f} s; all files are in {directory}")
    spoke = Spoke(network, authority, ROOT, TARGET)
    results = [run(call, spoke, proxy, missing) for call in arguments.calls]
    results.append(whole_log(proxy))
    return report(results, time.monotonic() - begun)


def parse():
    parser = argparse.ArgumentParser(prog="tests/clients/run", description="Real clients through the forward proxy.")
    parser.add_argument("--proxy", choices=["latticegate", "squid"], default="latticegate")
    parser.add_argument("--balancer", action="store_true", help="HAProxy before it, which adds a PROXY header")
    parser.add_argument("--list", action="store_true", help="name the calls, make none")
    parser.add_argument("--check-arguments", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="only these")
    arguments = parser.parse_args()
    every = calls.every()
    known = list(dict.fromkeys(call.client for call in every))
    for client in arguments.clients:
        if client not in known:
            parser.error(f"no client is called {client!r} (there are: {', '.join(known)})")
    arguments.calls = [call for call in every if not arguments.clients or call.client in arguments.clients]
    return arguments


def run(call, spoke, proxy, missing):
    """ok, FAILED or SKIPPED, with the reason."""
    skipped = call.skipped(spoke, proxy, missing)
    if skipped:
        return shown(call, "SKIPPED", skipped, 0)
    begun = time.monotonic()
    try:
        faults = [fault for step in call.steps() for fault in step(spoke, proxy)]
    except Exception:
        faults = [traceback.format_exc()]
    return shown(call, "FAILED" if faults else "ok", "\n".join(faults), time.monotonic() - begun)


def whole_log(proxy):
    """At the end, since a client may leave before its line is written."""
    deadline = time.monotonic() + 5
    while (faults := proxy.contradictions()) and time.monotonic() < deadline:
        time.sleep(0.1)
    log = SimpleNamespace(client="log", what="one line for each connection and for each request")
    return shown(log, "FAILED" if faults else "ok", "\n".join(faults), 0)


def shown(call, verdict, detail, seconds):
    print(f"{verdict:8}{call.client:10} {call.what:62} {seconds:5.1f} s", flush=True)
    if detail:
        print(re.sub("^", "        ", detail, flags=re.MULTILINE), flush=True)
    return call, verdict, detail


def report(results, seconds):
    count = {verdict: sum(1 for result in results if result[1] == verdict) for verdict in ("ok", "FAILED", "SKIPPED")}
    print(f"\n{count['ok']} passed, {count['FAILED']} failed, {count['SKIPPED']} skipped in {seconds:.0f} s")
    return 1 if count["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
