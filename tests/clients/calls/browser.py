"""Headless Chromium: pages with a script that calls the origin, and a WebSocket."""

from calls.base import call
from network import ALLOWED

NEEDS = ("chromium", "certutil")
# Nothing of its own goes out: it would be refused, and slows it down.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--virtual-time-budget=10000", "--dump-dom",
    # It would ask for https first.
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
)  # fmt: skip


def chromium(spoke, url):
    at = spoke.scratch()
    database = at / ".pki/nssdb"
    database.mkdir(parents=True)
    spoke.run("certutil", "-d", f"sql:{database}", "-N", "--empty-password", cwd=at)
    spoke.run("certutil", "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "tests", "-i", spoke.ca, cwd=at)
    return spoke.run("chromium", *QUIET, f"--user-data-dir={at}/profile", f"--proxy-server={spoke.proxy}", url, cwd=at)


@call(
    "chromium",
    "https, a page with a script and a fetch",
    shows=r"script ran\s*, fetched 13 bytes",
    refused="ERR_TUNNEL_CONNECTION_FAILED",
    needs=NEEDS,
)
def https(spoke, host):
    return chromium(spoke, f"https://{host}/")


@call(
    "chromium",
    "http, a page with a script and a fetch",
    method="GET|POST",
    shows=r"script ran\s*, fetched 13 bytes",
    refused="(?i)denied|403|not allowed",
    needs=NEEDS,
)
def http(spoke, host):
    return chromium(spoke, f"http://{host}/")


@call(
    "chromium",
    "https, a page with a WebSocket",
    shows="echoed from the page",
    hosts=(f"chromium.ws.{ALLOWED}", ""),
    needs=NEEDS,
    server="websocket",
)
def socket(spoke, host):
    # What is looked for in the log is the socket's name; the page's is another.
    return chromium(spoke, f"https://chromium-page.{ALLOWED}/?socket")
