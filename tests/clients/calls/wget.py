"""wget."""

from calls.base import call

WGET = ("wget", "--tries=1", "--timeout=30", "-O", "-", "-nv")


@call("wget", "http", method="GET", shows='"user-agent": "Wget', refused="ERROR 403: Forbidden", needs=("wget",))
def http(spoke, host):
    return spoke.run(*WGET, f"http://{host}/echo", env=spoke.environment)


@call("wget", "https", shows='"user-agent": "Wget', refused="(?i)403|Forbidden", needs=("wget",))
def https(spoke, host):
    return spoke.run(*WGET, f"--ca-certificate={spoke.ca}", f"https://{host}/echo", env=spoke.environment)


@call("wget", "http, two files on one connection", method="GET", shows=["1024.*-> ", "2048"], needs=("wget",))
def kept(spoke, host):
    at = spoke.scratch()
    output = spoke.run(
        *WGET[:3], "-nv", f"http://{host}/bytes/1024", f"http://{host}/bytes/2048", env=spoke.environment, cwd=at
    )
    return output
