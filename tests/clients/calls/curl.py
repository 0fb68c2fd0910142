"""curl: each way to ask, and each framing of a body."""

import hashlib

from calls.base import call
from network import ALLOWED
from spoke import digest

MIB = 1 << 20
BLOCK = hashlib.sha512(b"latticegate").digest() * 1024
BULK = 64 * MIB
BULK_DIGEST = f"sha256 {hashlib.sha256(BLOCK * (BULK // len(BLOCK))).hexdigest()}"
BODY = b"0123456789abcdef" * (2 * MIB // 16)
BODY_DIGEST = hashlib.sha256(BODY).hexdigest()
# The head as the origin saw it: nothing of what was between client and proxy, and the name of the proxy in Via.
REWRITTEN = ['"target": "/echo"', '"via": "1.1 ', r'^(?!.*"proxy-connection")\{"method"']


def curl(spoke, *words, proxy=None, stdin=b"", cwd=None):
    asked = ["curl", "-sS", "--fail-with-body", "--max-time", "80", "--cacert", spoke.ca]
    asked += ["--proxy", proxy] if proxy else []
    return spoke.run(*asked, *words, stdin=stdin, cwd=cwd, env=None if proxy else spoke.environment)


@call("curl", "http, -x", method="GET", shows=REWRITTEN, refused=r"403")
def http(spoke, host):
    return curl(spoke, f"http://{host}/echo", proxy=spoke.proxy)


@call(
    "curl",
    "https, https_proxy, HTTP/1.1",
    shows=['"method": "GET"', "version 1.1"],
    refused="CONNECT tunnel failed, response 403",
)
def https(spoke, host):
    return curl(spoke, "--http1.1", "-w", "version %{http_version}\n", f"https://{host}/echo")


@call("curl", "https, HTTP/2 in the tunnel", shows=['"method": "GET"', "version 2$"], refused="response 403")
def http2(spoke, host):
    return curl(spoke, "--http2", "-w", "version %{http_version}\n", f"https://{host}/echo", proxy=spoke.proxy)


@call(
    "curl",
    "http, two requests on one connection to the proxy",
    method="GET",
    shows=["Re-using existing connection", '"target": "/echo/2"'],
)
def kept(spoke, host):
    return curl(spoke, "-v", f"http://{host}/echo/1", f"http://{host}/echo/2", proxy=spoke.proxy)


@call(
    "curl",
    "http, another host on the same connection",
    method="GET",
    shows=["Re-using existing connection", f'"host": "other-curl.{ALLOWED}"'],
)
def other_host(spoke, host):
    return curl(spoke, "-v", f"http://{host}/echo", f"http://other-curl.{ALLOWED}/echo", proxy=spoke.proxy)


@call("curl", "http, a denied host on the same connection", method="GET", refused=f"(?s)first-curl.{ALLOWED}.*403")
def denied_host(spoke, host):
    return curl(spoke, f"http://first-curl.{ALLOWED}/echo", f"http://{host}/echo", proxy=spoke.proxy)


@call(
    "curl",
    "http, after a refusal the next one is served on a new connection",
    method="GET",
    shows=['"target": "/echo"', "403"],
)
def after_refusal(spoke, host):
    return curl(spoke, "http://refused-curl.example.net/", f"http://{host}/echo", proxy=spoke.proxy)


@call(
    "curl",
    "http, HEAD",
    method="HEAD",
    shows=["HTTP/1.1 200 OK", "Content-Length: 12345"],
    refused="HTTP/1.[01] 403 Forbidden",
)
def head(spoke, host):
    return curl(spoke, "--head", f"http://{host}/bytes/12345", proxy=spoke.proxy)


@call("curl", "http, HTTP/1.0", method="GET", shows='"method": "GET"', refused="403")
def http10(spoke, host):
    return curl(spoke, "--http1.0", f"http://{host}/echo", proxy=spoke.proxy)


@call("curl", "http, HTTP/1.0, an answer of unknown length", method="GET", shows=BULK_DIGEST)
def http10_long(spoke, host):
    return downloaded(spoke, f"http://{host}/chunked/{BULK}", "--http1.0")


@call("curl", "https, HTTP/1.0 CONNECT (--proxy1.0)", shows=['"method": "GET"'], refused="response 403")
def connect10(spoke, host):
    return curl(spoke, "--proxy1.0", spoke.proxy, f"https://{host}/echo", proxy=spoke.proxy)


def posted(spoke, url, *words):
    return curl(spoke, "-v", *words, "--data-binary", "@-", url, proxy=spoke.proxy, stdin=BODY)


EXPECT = ("-H", "Expect: 100-continue", "--expect100-timeout", "30")


@call(
    "curl",
    "http, POST with Expect: 100-continue",
    method="POST",
    shows=["< HTTP/1.1 100", BODY_DIGEST, '"expect": "100-continue"'],
    refused="< HTTP/1.[01] 403",
)
def expect(spoke, host):
    return posted(spoke, f"http://{host}/echo", *EXPECT)


@call("curl", "https, POST with Expect: 100-continue", shows=["< HTTP/1.1 100", BODY_DIGEST], refused="403")
def expect_tls(spoke, host):
    return posted(spoke, f"https://{host}/echo", "--http1.1", *EXPECT)


@call(
    "curl",
    "http, POST that is refused before its body is sent",
    method="POST",
    shows=["< HTTP/1.[01] 413", "too large"],
)
def early(spoke, host):
    output = posted(spoke, f"http://{host}/early", *EXPECT)
    return success(output, "< HTTP/1.1 413")


@call(
    "curl",
    "http, an early answer while the body is being sent",
    method="POST",
    shows=["< HTTP/1.[01] 413", "too large"],
)
def early_body(spoke, host):
    output = curl(
        spoke, "-v", "-H", "Expect:", "--data-binary", "@-", f"http://{host}/early", proxy=spoke.proxy, stdin=BODY * 16
    )
    return success(output, "< HTTP/1.1 413")


def success(output, sign):
    """curl says with its status that the answer is an error; where that is what was wanted it is no failure."""
    if output.code == 22 and sign in output.text:
        output.code = 0
    return output


@call("curl", "http, 64 MiB down", method="GET", shows=BULK_DIGEST, refused="403")
def download(spoke, host):
    return downloaded(spoke, f"http://{host}/bytes/{BULK}")


@call("curl", "http, 64 MiB down, chunked", method="GET", shows=BULK_DIGEST)
def download_chunked(spoke, host):
    return downloaded(spoke, f"http://{host}/chunked/{BULK}")


@call("curl", "http, 64 MiB down, to the end of the connection", method="GET", shows=BULK_DIGEST)
def download_until_close(spoke, host):
    return downloaded(spoke, f"http://{host}/until-close/{BULK}")


@call("curl", "https, 64 MiB down, HTTP/2", shows=BULK_DIGEST, refused="403")
def download_tls(spoke, host):
    return downloaded(spoke, f"https://{host}/bytes/{BULK}")


def downloaded(spoke, url, *words):
    at = spoke.scratch()
    output = curl(spoke, *words, "-o", "file", url, proxy=spoke.proxy, cwd=at)
    output += digest(at / "file")
    (at / "file").unlink(missing_ok=True)
    return output


def uploaded(spoke, url, *words, size=BULK):
    at = spoke.scratch()
    with open(at / "file", "wb") as file:
        for _ in range(size // len(BLOCK)):
            file.write(BLOCK)
    output = curl(spoke, *words, "-T", "file", url, proxy=spoke.proxy, cwd=at)
    (at / "file").unlink()
    return output


@call("curl", "http, 64 MiB up", method="PUT", shows=[BULK_DIGEST.split()[1], '"framing": "length"'], refused="403")
def upload(spoke, host):
    return uploaded(spoke, f"http://{host}/echo")


@call("curl", "https, 64 MiB up, HTTP/1.1", shows=BULK_DIGEST.split()[1], refused="403")
def upload_tls(spoke, host):
    return uploaded(spoke, f"https://{host}/echo", "--http1.1")


@call("curl", "http, chunked upload", method="PUT", shows=[BODY_DIGEST, '"framing": "chunked"'], refused="403")
def chunked(spoke, host):
    return curl(spoke, "-T", "-", f"http://{host}/echo", proxy=spoke.proxy, stdin=BODY)


@call("curl", "http, OPTIONS *", method="OPTIONS", shows=['"target": "\\*"', '"method": "OPTIONS"'], only="latticegate")
def options(spoke, host):
    return curl(spoke, "-X", "OPTIONS", "--request-target", f"http://{host}", f"http://{host}", proxy=spoke.proxy)


@call("curl", "http, only an IPv6 address", method="GET", shows='"method": "GET"', hosts=(f"six.{ALLOWED}", ""))
def ipv6(spoke, host):
    return curl(spoke, f"http://{host}/echo", proxy=spoke.proxy)


@call("curl", "https, only an IPv6 address", shows='"method": "GET"', hosts=(f"six-tls.{ALLOWED}", ""))
def ipv6_tls(spoke, host):
    return curl(spoke, f"https://{host}/echo", proxy=spoke.proxy)


@call("curl", "http through --proxytunnel, tunnel: any", port=80, shows='"method": "GET"', refused="response 403")
def proxytunnel(spoke, host):
    return curl(spoke, "--proxytunnel", f"http://{host}/echo", proxy=spoke.any_proxy)


@call(
    "curl",
    "CONNECT to a port that is not allowed",
    port=80,
    refused="response 403",
    reasons={"port_denied", "denied"},
    hosts=("", f"curl-port.{ALLOWED}"),
)
def connect_port(spoke, host):
    return curl(spoke, "--proxytunnel", f"http://{host}/echo", proxy=spoke.proxy)


@call(
    "curl",
    "http to a port that is not allowed",
    method="GET",
    port=8080,
    refused="403",
    reasons={"port_denied", "denied"},
    hosts=("", f"curl-port.{ALLOWED}"),
)
def http_port(spoke, host):
    return curl(spoke, f"http://{host}:8080/echo", proxy=spoke.proxy)


@call(
    "curl",
    "https, a private address",
    refused="response 502",
    reasons={"destination_forbidden"},
    hosts=("", f"curl.private.{ALLOWED}"),
    only="latticegate",
)
def private(spoke, host):
    return curl(spoke, f"https://{host}/echo", proxy=spoke.proxy)


@call(
    "curl",
    "http, a name that does not exist",
    method="GET",
    refused="502",
    reasons={"name_unknown"},
    hosts=("", f"curl.missing.{ALLOWED}"),
    only="latticegate",
)
def unknown(spoke, host):
    return curl(spoke, f"http://{host}/echo", proxy=spoke.proxy)


@call(
    "curl",
    "https, another name in the tunnel than in CONNECT",
    refused="alert|reset|SSL|TLS",
    reasons={"tunnel_sni_denied"},
    hosts=("", f"curl-fronted.{ALLOWED}"),
    only="latticegate",
)
def fronted(spoke, host):
    return curl(
        spoke,
        "--connect-to",
        f"hidden-curl.example.net:443:{host}:443",
        "https://hidden-curl.example.net/echo",
        proxy=spoke.proxy,
    )
