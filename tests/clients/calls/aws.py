"""The aws command, with the names of S3 that it makes itself."""

import os

from calls.base import call
from network import S3_ALLOWED, S3_DENIED
from spoke import digest

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
