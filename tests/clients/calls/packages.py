"""Package managers: pip, npm, cargo and apt, each with a repository that holds what an installation asks for."""

import os

from calls.base import call
from network import ALLOWED, DENIED
from origins import DEBS

# Without -vv it says only that it has found nothing.
PIP = (
    "-m",
    "pip",
    "--disable-pip-version-check",
    "--no-cache-dir",
    "-vv",
    "--retries",
    "0",
    "install",
    "--no-deps",
    "--target",
    "installed",
)


@call(
    "pip",
    "https, an index and a wheel",
    shows=["Successfully installed spoke-thing-1.0", "answer 42"],
    refused="Tunnel connection failed: 403 Forbidden",
    server="websocket",
)
def pip(spoke, host):
    at = spoke.scratch()
    python = spoke.venv("clients")
    env = {**spoke.environment, "PIP_CERT": spoke.ca, "PIP_INDEX_URL": f"https://{host}/simple/"}
    output = spoke.run(python, *PIP, "spoke-thing", env=env, cwd=at)
    if output.code == 0:
        output += spoke.run(
            python,
            "-c",
            "import spoke_thing; print('answer', spoke_thing.ANSWER)",
            cwd=at,
            env={"PYTHONPATH": "installed"},
        ).text
    return output


@call(
    "pip",
    "http, --proxy",
    method="GET",
    shows="Successfully installed spoke-thing-1.0",
    refused="403",
    server="websocket",
)
def pip_plain(spoke, host):
    return spoke.run(
        spoke.venv("clients"),
        *PIP,
        "--proxy",
        spoke.proxy,
        "--index-url",
        f"http://{host}/simple/",
        "--trusted-host",
        host,
        "spoke-thing",
    )


def npm(spoke, host, scheme):
    at = spoke.scratch()
    settings = (
        f"registry={scheme}://{host}/npm-{scheme}/\ncafile={spoke.ca}\nproxy={spoke.proxy}\nhttps-proxy={spoke.proxy}\n"
    )
    (at / ".npmrc").write_text(f"{settings}fetch-retries=0\naudit=false\nfund=false\nupdate-notifier=false\n")
    (at / "package.json").write_text('{"name":"spoke","version":"1.0.0"}')
    # What this machine has set for its own npm is not for this one.
    output = spoke.run("npm", "--globalconfig", "/dev/null", "install", "spoke-thing", cwd=at)
    if output.code == 0:
        output += spoke.run("node", "-e", "console.log('answer', require('spoke-thing'))", cwd=at).text
    return output


@call(
    "npm",
    "https, a packument and a tarball",
    shows=["added 1 package", "answer 42"],
    refused="(?i)403",
    needs=("npm", "node"),
    hosts=(f"npm-https.{ALLOWED}", f"npm-https.{DENIED}"),
)
def npm_tls(spoke, host):
    return npm(spoke, host, "https")


@call(
    "npm",
    "http",
    method="GET",
    shows=["added 1 package", "answer 42"],
    refused="(?i)403",
    needs=("npm", "node"),
    hosts=(f"npm-http.{ALLOWED}", f"npm-http.{DENIED}"),
)
def npm_plain(spoke, host):
    return npm(spoke, host, "http")


@call(
    "cargo",
    "https, a sparse registry and a crate",
    shows="Downloaded spoke-thing v1.0.0",
    refused="403",
    needs=("cargo",),
    hosts=(f"cargo.{ALLOWED}", f"cargo.{DENIED}"),
)
def cargo(spoke, host):
    at = spoke.scratch()
    (at / "src").mkdir()
    (at / "src/lib.rs").write_text("")
    (at / "Cargo.toml").write_text(
        '[package]\nname = "spoke"\nversion = "1.0.0"\n[workspace]\n[dependencies]\nspoke-thing = { version = "1", registry = "spoke" }\n'
    )
    settings = {
        "CARGO_HOME": str(at / "cargo"),
        "CARGO_REGISTRIES_SPOKE_INDEX": f"sparse+https://{host}/crates/",
        "CARGO_HTTP_CAINFO": spoke.ca,
        "CARGO_NET_RETRY": "0",
        # Of the toolchain that runs this, which is not in the home of the spoke.
        **{name: os.environ[name] for name in ("RUSTUP_HOME", "RUSTUP_TOOLCHAIN") if name in os.environ},
    }
    settings.setdefault("RUSTUP_HOME", os.path.expanduser("~/.rustup"))
    return spoke.run("cargo", "fetch", cwd=at, env={**spoke.environment, **settings})


def apt(spoke, host, scheme):
    """Update, then all packages: over http apt asks for several at a time on one connection."""
    at = spoke.scratch()
    for folder in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "dpkg"):
        (at / folder).mkdir(parents=True)
    (at / "etc/sources.list").write_text(f"deb [trusted=yes] {scheme}://{host}/apt/ ./\n")
    (at / "dpkg/status").write_text("")
    (at / "apt.conf").write_text(f"""\
Dir::State "{at}/state";
Dir::State::status "{at}/dpkg/status";
Dir::Cache "{at}/cache";
Dir::Etc "{at}/etc";
APT::Sandbox::User "root";
Acquire::Retries "0";
Acquire::http::Proxy "{spoke.proxy}";
Acquire::https::Proxy "{spoke.proxy}";
Acquire::https::CAInfo "{spoke.ca}";
Acquire::Languages "none";
""")
    env = {"APT_CONFIG": str(at / "apt.conf")}
    output = spoke.run("apt-get", "update", cwd=at, env=env)
    if output.code == 0:
        names = [f"spoke-thing-{number}" for number in range(DEBS)]
        output += spoke.run("apt-get", "download", *names, cwd=at, env=env).text
        # apt has compared each with its digest.
        output += f"{len(list(at.glob('*.deb')))} packages"
    return output


NEEDS = ("apt-get", "dpkg-deb")


@call(
    "apt",
    "http, Acquire::http::Proxy, pipelined downloads",
    method="GET",
    shows=f"^{DEBS} packages",
    refused="403 +Forbidden",
    needs=NEEDS,
)
def apt_plain(spoke, host):
    return apt(spoke, host, "http")


@call("apt", "https, Acquire::https::Proxy", shows=f"^{DEBS} packages", refused="403 +Forbidden", needs=NEEDS)
def apt_tls(spoke, host):
    return apt(spoke, host, "https")
