"""Python's requests, as most programs call it. (urllib and http.client are in the tests of the data path.)"""

from calls.base import call

PROGRAM = "requests_call.py"
NEEDS = ("python3",)


def requests(spoke, *words):
    return spoke.run(
        spoke.venv("clients"),
        spoke.programs / PROGRAM,
        *words,
        env={**spoke.environment, "REQUESTS_CA_BUNDLE": spoke.ca},
    )


@call(
    "python",
    "http, a session of three requests, chunked upload",
    method="GET|POST",
    shows=["GET 200", "POST 200 chunked 300000", "bytes 200 1048576"],
    refused="403",
    needs=NEEDS,
    server="websocket",
)
def http(spoke, host):
    return requests(spoke, f"http://{host}")


@call(
    "python",
    "https, a session of three requests, chunked upload",
    shows=["GET 200", "POST 200 chunked 300000", "bytes 200 1048576"],
    refused="Tunnel connection failed: 403 Forbidden",
    needs=NEEDS,
    server="websocket",
)
def https(spoke, host):
    return requests(spoke, f"https://{host}")


# Longer than a client may take for its first request.
@call(
    "python",
    "http, a request on a connection that was silent for 12 s",
    method="GET|POST",
    shows=["GET 200", "after the pause 200 on the same connection"],
    needs=NEEDS,
    server="websocket",
)
def pause(spoke, host):
    return requests(spoke, f"http://{host}", "12")
