"""The HTTP clients of Java, Node and Go."""

import re
import subprocess

from calls.base import call
from spoke import Output

JAVA = ("java", "javac", "keytool")


def java(spoke, url, version):
    classes = once(spoke, "java", ["javac", "-d", ".", str(spoke.programs / "Fetch.java")])
    if isinstance(classes, Output):
        return classes
    return spoke.run("java", "-XX:TieredStopAtLevel=1", "-cp", classes, "Fetch", url, spoke.proxy, spoke.ca, version)


def once(spoke, name, words):
    """The folder where the program was built, or what the compiler says. The compiler stands outside the spoke."""
    folder = spoke.network.directory / f"built-{name}"
    if not folder.exists():
        folder.mkdir()
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            folder.rmdir()
            return Output(done.returncode, done.stdout + done.stderr)
    return str(folder)


@call(
    "java",
    "http, HttpClient",
    method="GET|POST",
    shows=["GET 200 HTTP_1_1", "POST 200 300000"],
    refused="GET 403",
    needs=JAVA,
)
def java_http(spoke, host):
    return java(spoke, f"http://{host}", "HTTP_1_1")


@call(
    "java",
    "https, HttpClient, HTTP/1.1",
    shows=["GET 200 HTTP_1_1", "POST 200 300000"],
    refused="Tunnel failed, got: 403",
    needs=JAVA,
)
def java_https(spoke, host):
    return java(spoke, f"https://{host}", "HTTP_1_1")


@call(
    "java",
    "https, HttpClient, HTTP/2",
    shows=["GET 200 HTTP_2", "POST 200 300000"],
    refused="Tunnel failed, got: 403",
    needs=JAVA,
)
def java_http2(spoke, host):
    return java(spoke, f"https://{host}", "HTTP_2")


@call(
    "java",
    "http, HttpClient that asks for HTTP/2 in clear",
    method="GET|POST",
    shows=["GET 200 HTTP_1_1", "POST 200 300000"],
    needs=JAVA,
)
def java_h2c(spoke, host):
    return java(spoke, f"http://{host}", "HTTP_2")


@call(
    "java",
    "https, HttpsURLConnection",
    shows="GET 200 HttpURLConnection",
    refused='Unable to tunnel through proxy. Proxy returns "HTTP/1.1 403 Forbidden"',
    needs=JAVA,
)
def java_url(spoke, host):
    return java(spoke, f"https://{host}", "URL")


def node(spoke, program, *words, env=None):
    modules = {"NODE_PATH": str(spoke.target / "npm/clients/node_modules"), "NODE_EXTRA_CA_CERTS": spoke.ca}
    return spoke.run("node", spoke.programs / program, *words, env={**spoke.environment, **modules, **(env or {})})


def no_undici(spoke):
    return None if (spoke.target / "npm/clients/node_modules/undici").exists() else "its packages are not installed"


def no_env_proxy(spoke):
    """Node reads the environment by itself since 22.21 and 24.5."""
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    return (
        None if version >= (24, 5) or (22, 21) <= version < (23,) else f"Node {found.strip()} has no NODE_USE_ENV_PROXY"
    )


@call(
    "node",
    "http, http.request",
    method="GET|POST",
    shows=["GET 200", "POST 200 300000"],
    refused="GET 403",
    needs=("node",),
)
def node_http(spoke, host):
    return node(spoke, "by_hand.cjs", f"http://{host}")


# Squid drops trailers.
@call(
    "node",
    "http, an interim response, trailers both ways",
    method="POST",
    shows=["interim 103 </page.js>", "body some", 'trailers {"x-seen":"X-Sent: after the body"}'],
    needs=("node",),
    only="latticegate",
)
def node_trailers(spoke, host):
    return node(spoke, "trailers.cjs", f"http://{host}")


@call(
    "node",
    "https, http.request with CONNECT by hand",
    shows=["GET 200", "POST 200 300000"],
    refused="CONNECT 403 Forbidden",
    needs=("node",),
)
def node_connect(spoke, host):
    return node(spoke, "by_hand.cjs", f"https://{host}")


@call(
    "node",
    "https, https-proxy-agent",
    shows=["GET 200", "POST 200 300000"],
    refused="403",
    needs=("node",),
    unless=no_undici,
)
def node_agent(spoke, host):
    return node(spoke, "agent.cjs", f"https://{host}")


@call(
    "node",
    "https, fetch of undici with EnvHttpProxyAgent",
    shows=["GET 200", "POST 200 300000"],
    refused="403",
    needs=("node",),
    unless=no_undici,
)
def node_undici(spoke, host):
    return node(spoke, "undici.cjs", f"https://{host}")


@call(
    "node",
    "http by CONNECT, EnvHttpProxyAgent, tunnel: any",
    port=80,
    shows=["GET 200", "POST 200 300000"],
    refused="403",
    needs=("node",),
    unless=no_undici,
)
def node_undici_plain(spoke, host):
    return node(
        spoke, "undici.cjs", f"http://{host}", env={"http_proxy": spoke.any_proxy, "HTTP_PROXY": spoke.any_proxy}
    )


@call(
    "node",
    "https, NODE_USE_ENV_PROXY",
    shows=["GET 200", "POST 200 300000"],
    refused="403",
    needs=("node",),
    unless=no_env_proxy,
)
def node_environment(spoke, host):
    return node(spoke, "environment.cjs", f"https://{host}", env={"NODE_USE_ENV_PROXY": "1"})


def go(spoke, url):
    folder = once(spoke, "go", ["go", "build", "-o", "fetch", str(spoke.programs / "fetch.go")])
    if isinstance(folder, Output):
        return folder
    return spoke.run(f"{folder}/fetch", url, env={**spoke.environment, "SSL_CERT_FILE": spoke.ca})


@call(
    "go",
    "http, net/http",
    method="GET|POST",
    shows=["GET 200 HTTP/1.1", "POST 200 chunked 300000"],
    refused="GET 403",
    needs=("go",),
)
def go_http(spoke, host):
    return go(spoke, f"http://{host}")


@call("go", "https, net/http, HTTP/2", shows=["GET 200 HTTP/2.0", "POST 200"], refused="Forbidden", needs=("go",))
def go_https(spoke, host):
    return go(spoke, f"https://{host}")
