"""curl: what real origins answer, and what real clients write into a request that the proxy forwards."""

from calls.base import call
from calls.curl import curl
from network import ALLOWED, WEB


def answered(name, *shows, logs=None):
    """Registers a call for /raw/NAME. LOGS: why the proxy gives the answer up; without it the answer must come whole."""

    def function(spoke, host):
        output = curl(spoke, "-i", "-w", "\nstatus %{http_code}\n", f"http://{host}/raw/{name}", proxy=spoke.proxy)
        output.text += f"curl {'failed' if output.code else 'was content'}"
        if logs:
            output.code = 0
        return output

    call("answers", f"http, {name}", method="GET", shows=shows, logs=logs)(function)


WHOLE = ("status 200", "^whole$", "curl was content")
for each in (
    "no-reason", "latin-1", "http-1.0", "http-1.0-kept", "large-head", "larger-head", "many-fields", "chunk-extensions", "blanks",
    "equal-lengths",
):  # fmt: skip
    answered(each, *WHOLE)
answered("no-content", "status 204", "X-End: yes", "curl was content")
answered("not-modified", "status 304", '(?i)etag: "1"', "curl was content")
answered("partial", "status 206", "^whole$", "curl was content")
answered("early-hints", "HTTP/1.1 103", *WHOLE)
answered("hop-by-hop", r"(?s)^(?!.*(X-Secret|timeout=5))", *WHOLE)
# Squid repairs these three; latticegate does not pass on what two readers may read differently (docs/egress.md).
for each in ("folded", "bare-lf", "length-and-chunked"):
    answered(each, "status 502|^whole$", logs={"response_malformed"})
answered("unequal-lengths", "status 502", logs={"response_malformed"})
answered("cut", "status 200", "curl failed", logs={"upstream_closed"})
# Squid takes it for HTTP/0.9.
answered("no-http", "status (502|200)", logs={"response_malformed"})
answered("no-http-kept", "status (502|200)", logs={"response_malformed"})
answered("nothing", "status 502", logs={"upstream_closed"})


def requested(what, shows, *words, path="/echo", **more):
    """Registers a call with these words of curl. PATH may have the name of the origin in it."""

    def function(spoke, name):
        url = path if "://" in path else "http://{name}" + path
        return curl(
            spoke,
            *(word.format(name=name) for word in words),
            url.format(name=name, NAME=name.upper()),
            proxy=spoke.proxy,
        )

    call("heads", f"http, {what}", method=more.pop("method", "GET"), shows=shows, **more)(function)


requested("no path", "not run", path="http://{name}")
requested(
    "a query without a path",
    r'"target": "/\?a=b"',
    "--request-target",
    "http://{name}?a=b",
    "-X",
    "OPTIONS",
    method="OPTIONS",
    path="",
    only="latticegate",
)
requested("the default port", '"target": "/echo"', path="http://{name}:80/echo")
requested("capitals", '"target": "/echo"', path="http://{NAME}/echo")
requested("a trailing dot", '"target": "/echo"', path="http://{name}./echo")
requested("UTF-8 in the path", r'"target": "/echo/', path="/echo/é")
requested("marks that need no escape here", r'"target": "/echo/\[a\]\|', "--globoff", path='/echo/[a]|^`{{b}}<>"?[c]=|')
requested("an escaped slash", '"target": "/echo/a%2Fb%00%20"', path="/echo/a%2Fb%00%20")
requested("dots in the path", '"target": "/echo/a/../b//c"', "--path-as-is", path="/echo/a/../b//c")
requested("a path of 7000 bytes", '"method": "GET"', path="/echo/" + "p" * 7000)
requested("a field of 8000 bytes", '"cookie": "c{8000}"', "-H", "Cookie: " + "c" * 8000)
requested("60 fields", '"x-59": "v"', *(word for n in range(60) for word in ("-H", f"X-{n}: v")))
requested("Latin-1 in a field", '"x-name"', "-H", b"X-Name: caf\xe9".decode("latin-1"))
requested("a field without a value", '"x-empty": ""', "-H", "X-Empty;")
requested("a password for the origin", '"authorization": "Basic dTpw"', path="http://u:p@{name}/echo")
requested("a password for the proxy", [r"(?s)^(?!.*proxy-authorization)", '"method": "GET"'], "--proxy-user", "u:p")
requested("Upgrade: h2c", [r"(?s)^(?!.*http2-settings)", r'(?s)^(?!.*"upgrade")', '"method": "GET"'], "--http2")
requested("another Host than the target", f'"host": "heads-\\d+.{ALLOWED}"', "-H", "Host: other.example.net")
# Squid refuses these two.
requested("a method of its own", '"method": "PURGE"', "-X", "PURGE", method="PURGE", only="latticegate")
requested("GET with a body", ['"length": 4', '"method": "GET"'], "-X", "GET", "--data", "body", only="latticegate")
requested(
    "POST without a body", ['"length": 0', '"method": "POST"'], "-X", "POST", "-H", "Content-Length: 0", method="POST"
)
requested("a compressed answer", '"accept-encoding"', "--compressed")


@call("heads", "https, a password for the proxy", shows='"method": "GET"')
def connect_password(spoke, host):
    return curl(spoke, "--proxy-user", "u:p", f"https://{host}/echo", proxy=spoke.proxy)


@call("heads", "https, capitals", shows='"method": "GET"')
def connect_capitals(spoke, host):
    return curl(spoke, f"https://{host.upper()}/echo", proxy=spoke.proxy)


@call("heads", "https, a trailing dot", shows='"method": "GET"')
def connect_dot(spoke, host):
    return curl(spoke, "-k", f"https://{host}./echo", proxy=spoke.proxy)


@call(
    "heads",
    "https, an address instead of a name",
    hosts=("", WEB),
    method="CONNECT|UNKNOWN",
    refused="response 40[03]",
    reasons={"host_ip_address", "denied"},
)
def connect_address(spoke, host):
    return curl(spoke, f"https://{host}/echo", proxy=spoke.proxy)


@call("heads", "http, the origin closes an idle connection", method="GET", shows=["soon closed", '"target": "/echo"'])
def idle(spoke, host):
    # curl makes the second request at once, and so sees the same connection to the proxy; --rate waits between them.
    return curl(spoke, "-v", "--rate", "2/s", f"http://{host}/close-next", f"http://{host}/echo", proxy=spoke.proxy)


@call("heads", "http, POST after the origin has closed an idle connection", method="POST", shows='"length": 4')
def idle_post(spoke, host):
    return curl(
        spoke,
        "-v",
        "--rate",
        "2/s",
        f"http://{host}/close-next",
        f"http://{host}/echo",
        "--data",
        "body",
        proxy=spoke.proxy,
    )
