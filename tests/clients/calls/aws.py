"""The aws command, with the names of S3 that it makes itself: through the explicit proxy, and by SNI to an endpoint that checks signatures."""

import json
import os

from calls.base import call
from network import ENDPOINT_ALLOWED, ENDPOINT_DENIED, S3_ALLOWED, S3_DENIED
from spoke import Output, digest

AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_RETRY_MODE": "standard",
    "AWS_CONFIG_FILE": "/nonexistent",
}


def aws(spoke, host, *words, cwd=None):
    region = host.split(".")[-3]
    env = {**spoke.environment, **AWS, "AWS_CA_BUNDLE": spoke.ca, "AWS_DEFAULT_REGION": region}
    return spoke.run(spoke.venv("clients", "aws"), *words, cwd=cwd, env=env)


def absent(spoke):
    return (
        None
        if os.path.exists(spoke.venv("clients", "aws"))
        else "the aws command of its virtual environment is not installed"
    )


# What it says without --debug does not name the status.
@call(
    "aws",
    "https, s3 mb",
    shows="make_bucket: first.of.all",
    refused="Tunnel connection failed: 403 Forbidden",
    hosts=(S3_ALLOWED, S3_DENIED),
    server="s3",
    unless=absent,
)
def bucket(spoke, host):
    # A name with dots fits no wildcard of a certificate, so it goes into the path.
    return aws(spoke, host, "--debug", "s3", "mb", "s3://first.of.all")


@call(
    "aws",
    "https, s3 cp of 20 MiB up and down, in parts",
    shows="same content",
    refused="Failed to connect to proxy URL",
    hosts=(f"lists.{S3_ALLOWED}", f"lists.{S3_DENIED}"),
    server="s3",
    unless=absent,
)
def copy(spoke, host):
    at = spoke.scratch()
    (at / "file").write_bytes(os.urandom(20 << 20))
    said = ""
    for words in (
        ["mb", "s3://lists"],
        ["cp", "--no-progress", "file", "s3://lists/file"],
        ["cp", "--no-progress", "s3://lists/file", "copy"],
    ):
        output = aws(spoke, host, "s3", *words, cwd=at)
        said += output.text
        if output.code != 0:
            break
    output.text = said
    return output + ("same content" if digest(at / "file") == digest(at / "copy") else "other content")


# ---------- by SNI, to an interface endpoint: the DNS of the spoke leads the names of S3 to the proxy ----------
def direct(spoke, host, *words, cwd, secret=None):
    """Without a proxy's variables, signed with a key that the endpoint knows."""
    key = json.loads((spoke.network.directory / "endpoint-key.json").read_text())["AccessKey"]
    env = {**AWS, "AWS_CA_BUNDLE": spoke.ca, "AWS_DEFAULT_REGION": host.split(".")[-3], "AWS_ACCESS_KEY_ID": key["AccessKeyId"]}
    env["AWS_SECRET_ACCESS_KEY"] = secret or key["SecretAccessKey"]
    # One style for all, or the command takes the path for buckets that it has just made.
    style = "path" if host == ENDPOINT_ALLOWED else "virtual"
    (cwd / "config").write_text(f"[default]\ns3 =\n  addressing_style = {style}\n")
    return spoke.run(spoke.venv("clients", "aws"), *words, cwd=cwd, env=env | {"AWS_CONFIG_FILE": str(cwd / "config")})


@call(
    "aws",
    "by SNI to an endpoint, SigV4: s3 cp of 20 MiB up and down",
    method="TLS",
    port=443,
    shows="same content",
    refused="SSL validation failed|EOF occurred|Connection was closed|Could not connect",
    hosts=(f"lists.{ENDPOINT_ALLOWED}", f"lists.{ENDPOINT_DENIED}"),
    server="s3",
    only="latticegate",
    unless=absent,
)
def signed(spoke, host):
    at = spoke.scratch()
    (at / "file").write_bytes(os.urandom(20 << 20))
    said = Output(0, "")
    for words in (
        ["s3api", "create-bucket", "--bucket", "lists", "--create-bucket-configuration", f"LocationConstraint={host.split('.')[-3]}"],
        ["s3", "cp", "--no-progress", "file", "s3://lists/file"],
        ["s3", "cp", "--no-progress", "s3://lists/file", "copy"],
    ):
        output = direct(spoke, host, *words, cwd=at)
        said = Output(output.code, f"{said.text}\n{output.text}")
        if output.code != 0:
            break
    return said + ("same content" if digest(at / "file") == digest(at / "copy") else "other content")


@call(
    "aws",
    "by SNI to an endpoint: a wrong key is refused by S3",
    method="TLS",
    port=443,
    shows="SignatureDoesNotMatch",
    hosts=(f"lists.{ENDPOINT_ALLOWED}",),
    server="s3",
    only="latticegate",
    unless=absent,
)
def forged(spoke, host):
    """What shows that signatures are checked, so that the call above would fail if the proxy changed what is signed."""
    output = direct(spoke, host, "s3", "ls", "s3://lists/", cwd=spoke.scratch(), secret="another")
    return Output(0, output.text) if output.code != 0 else Output(1, f"accepted: {output.text}")


@call(
    "aws",
    "by SNI to an endpoint, path style: no bucket in the name",
    method="TLS",
    port=443,
    shows="20971520 file",
    hosts=(ENDPOINT_ALLOWED,),
    server="s3",
    only="latticegate",
    unless=absent,
)
def path_style(spoke, host):
    """Names alone are filtered: which bucket it is, only the endpoint's policy can ask."""
    return direct(spoke, host, "s3", "ls", "s3://lists/", cwd=spoke.scratch())
