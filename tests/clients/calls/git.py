"""git: its own protocol over HTTP, which pushes what is large as a chunked request, and plain files."""

import os

from calls.base import call


def git(spoke, at, *words, **more):
    settings = {"GIT_SSL_CAINFO": spoke.ca, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    return spoke.run(
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        *words,
        cwd=at,
        env={**spoke.environment, **settings},
        **more,
    )


def cloned(spoke, url):
    at = spoke.scratch()
    output = git(spoke, at, "clone", url, "copy")
    file = at / "copy/file"
    return output + (file.read_text() if file.exists() else "nothing cloned")


SHOWS = "^content of the repository"


@call("git", "https, clone", shows=SHOWS, refused="CONNECT tunnel failed, response 403", needs=("git",))
def https(spoke, host):
    return cloned(spoke, f"https://{host}/git/clone.git")


@call(
    "git",
    "http, clone",
    method="GET|POST",
    shows=SHOWS,
    refused="The requested URL returned error: 403",
    needs=("git",),
)
def http(spoke, host):
    return cloned(spoke, f"http://{host}/git/clone.git")


@call(
    "git",
    "http, clone of plain files",
    method="GET",
    shows=SHOWS,
    refused="The requested URL returned error: 403",
    needs=("git",),
)
def dumb(spoke, host):
    return cloned(spoke, f"http://{host}/dumb.git")


def pushed(spoke, host, scheme):
    at = spoke.scratch()
    output = git(spoke, at, "clone", "-q", f"{scheme}://{host}/git/push.git", "copy")
    if output.code != 0:
        return output
    copy = at / "copy"
    # More than http.postBuffer, and nothing that compresses.
    (copy / host).write_bytes(os.urandom(4 << 20))
    git(spoke, copy, "add", ".")
    git(spoke, copy, "commit", "-q", "-m", "large")
    output = git(spoke, copy, "push", "--progress", "origin", "HEAD")
    return (
        output
        + f"at the origin: {git(spoke, copy, 'ls-remote', 'origin', 'HEAD').text}here: {git(spoke, copy, 'rev-parse', 'HEAD').text}"
    )


@call(
    "git",
    "http, push of 4 MiB, chunked",
    method="GET|POST",
    shows=[r"main -> main|HEAD -> main", r"at the origin: (\w+)\tHEAD\nhere: \1"],
    needs=("git",),
)
def push(spoke, host):
    return pushed(spoke, host, "http")


@call(
    "git",
    "https, push of 4 MiB, chunked",
    shows=[r"main -> main|HEAD -> main", r"at the origin: (\w+)\tHEAD\nhere: \1"],
    needs=("git",),
)
def push_tls(spoke, host):
    return pushed(spoke, host, "https")
