"""The scripts of cfn/ against moto's server, by the real aws command: from nothing to destroyed.

What moto cannot answer is noted by moto_stand_in.py; the list is printed at the end (pytest -s, or on failure).
"""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import modes
import pytest

HERE = Path(__file__).parent
SCRIPTS = modes.CFN
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/latticegate@sha256:" + "ab" * 32


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    """The environment of a shell that talks to moto."""
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, HERE / "moto_stand_in.py", str(port)], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5)
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "LATTICEGATE_"))}
        yield keep | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_SESSION_TOKEN": "token",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "PATH": f"{Path(sys.executable).parent}:{keep['PATH']}",
            "GATE_BINARY": os.environ["GATE_BINARY"],
        }
        print("\nmoto ignored:")
        for line in log.read_text().splitlines():
            if line.startswith("IGNORED "):
                print("  " + line.removeprefix("IGNORED "))
    finally:
        server.terminate()
        server.wait()


def run(env, script, *arguments, expect=0):
    done = subprocess.run([SCRIPTS / script, *arguments], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, f"{script} {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def aws(env, *arguments):
    return subprocess.run(["aws", *arguments, "--output", "text"], env=env, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_from_nothing_to_destroyed(moto, tmp_path):
    # Nothing there yet: each script says what to do first.
    assert "cfn/deploy" in run(moto, "verify", expect=1)
    assert "there is no stack latticegate in us-east-1" in run(moto, "publish-policy", "x.yaml", expect=1)

    said = run(moto, "deploy", "--dry-run", "VPCLatticeServiceNetwork=sn-0123456789abcdef0")
    assert "would publish conf/ipcontrol.yaml" in said and "AvailabilityZone3=us-east-1c" in said and "nothing was changed" in said
    assert aws(moto, "cloudformation", "describe-stacks", "--query", "Stacks[].StackName") == ""
    assert aws(moto, "s3api", "list-buckets", "--query", "Buckets[].Name") in ("", "None")

    said = run(moto, "deploy", "--yes", "--image", IMAGE, "VPCLatticeServiceNetwork=sn-0123456789abcdef0")
    assert "zones: us-east-1a us-east-1b us-east-1c" in said
    assert "denies the internet" in said
    for name in ("PublicName", "PrivateName", "VpcAssociationId", "ClusterName"):
        assert name in said
    parameters = dict(
        line.split("\t")
        for line in aws(moto, "cloudformation", "describe-stacks", "--stack-name", "latticegate", "--query", "Stacks[0].Parameters[].[ParameterKey,ParameterValue]").splitlines()
        if "\t" in line
    )
    assert parameters["Image"] == IMAGE
    assert parameters["S3PrefixListId"].startswith("pl-") and parameters["LatticePrefixListId"].startswith("pl-")
    balancers = aws(moto, "elbv2", "describe-load-balancers", "--query", "LoadBalancers[].[Scheme,Type]").splitlines()
    assert sorted(balancers) == ["internal\tnetwork", "internet-facing\tnetwork"]
    groups = aws(moto, "elbv2", "describe-target-groups", "--query", "TargetGroups[].[Port,HealthCheckPath]").splitlines()
    assert sorted(groups) == ["8080\t/readyz", "8080\t/readyz", "8443\t/readyz", "8443\t/readyz"]

    # moto runs no tasks and knows no association of a stack: verify must say so, and how to fix it.
    said = run(moto, "verify", expect=1)
    assert "ok    stack latticegate is CREATE_COMPLETE" in said
    assert "WRONG 0 of 0 tasks run" in said and "aws logs tail" in said
    assert "ok    access list" in said

    # The access list: refused, published, unchanged, rolled back.
    bucket = aws(moto, "cloudformation", "describe-stacks", "--stack-name", "latticegate-foundation", "--query", "Stacks[0].Outputs[?OutputKey=='PolicyBucket'].OutputValue | [0]")
    aws(moto, "s3api", "put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled")
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("rules:\n  - allow: 203.0.113.0/24\n  - deny: all\n")
    bad.write_text("rules:\n  - alow: 203.0.113.0/24\n")
    assert "nothing was uploaded" in run(moto, "publish-policy", "--yes", bad, expect=1)
    assert "needs a yes" in run(moto, "publish-policy", good, expect=1)
    assert "203.0.113.0/24" in run(moto, "publish-policy", "--dry-run", good)
    assert "published s3://" in run(moto, "publish-policy", "--yes", good)
    assert "nothing to do" in run(moto, "publish-policy", "--yes", good)
    assert len(run(moto, "publish-policy", "--history").splitlines()) == 2
    assert "published" in run(moto, "publish-policy", "--yes", "--rollback")
    shipped = (SCRIPTS.parent / "conf/ipcontrol.yaml").read_text()
    aws(moto, "s3api", "get-object", "--bucket", bucket, "--key", "ipcontrol.yaml", str(tmp_path / "now.yaml"))
    assert (tmp_path / "now.yaml").read_text() == shipped

    # Again, with nothing changed: what was given stays given, the list is left alone.
    said = run(moto, "deploy", "--yes", "--image", IMAGE)
    assert "publishing" not in said and "zones:" not in said

    # What would be deleted, and what curl would be given: nothing is touched, and no secret is shown.
    said = run(moto, "destroy", "--dry-run")
    assert "would delete stack latticegate (" in said and "would keep repository" in said and bucket in said
    assert "would empty and delete repository" in run(moto, "destroy", "--dry-run", "--empty")
    assert aws(moto, "cloudformation", "describe-stacks", "--stack-name", "latticegate", "--query", "Stacks[0].StackStatus").endswith("_COMPLETE")
    said = run(moto, "call", "--dry-run", "https://orders.example.com/")
    assert said.startswith("curl ") and "--connect-to orders.example.com:443:" in said and "AKIA" not in said and "secret" not in said

    said = run(moto, "destroy", "--yes")
    assert "kept: stack latticegate-foundation" in said and bucket in said
    run(moto, "destroy", "--yes", "--empty")
    assert aws(moto, "s3api", "list-buckets", "--query", "Buckets[].Name") in ("", "None")
    assert aws(moto, "ecr", "describe-repositories", "--query", "repositories[].repositoryName") in ("", "None")


@pytest.mark.parametrize(
    "script, arguments, text",
    [
        ("deploy", ["--stack"], "--stack needs a value"),
        ("publish-policy", ["--to"], "--to needs a value"),
        ("deploy", ["Nonsense=1"], "has no parameter Nonsense"),
        ("deploy", ["--zones", "4"], "1, 2 or 3"),
        ("deploy", ["--image", "x:latest", "--yes"], "is not by digest"),
        ("deploy", ["what"], "unknown argument what"),
        ("destroy", [], "add --yes"),
        ("call", ["ftp://x"], "no URL"),
        ("image", [], "Builds the image"),
    ],
)
def test_scripts_say_what_is_wrong(moto, script, arguments, text):
    done = subprocess.run([SCRIPTS / script, *arguments], env=moto, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode != 0
    assert text in done.stdout + done.stderr


def test_no_credentials_and_no_region(moto):
    env = {k: v for k, v in moto.items() if not k.endswith("_REGION")}
    done = subprocess.run([SCRIPTS / "verify"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "export AWS_REGION" in done.stderr


class Service(http.server.BaseHTTPRequestHandler):
    seen: list = []

    def do_GET(self):
        self.seen.append(dict(self.headers))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *args):
        pass


@pytest.fixture
def service():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Service.seen.clear()
    yield f"http://127.0.0.1:{server.server_port}/path"
    server.shutdown()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_call_signs(moto, service):
    assert "hello" in run(moto, "call", "--direct", service)
    (headers,) = Service.seen
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/")
    assert "/us-east-1/vpc-lattice-svcs/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Content-Sha256" if "X-Amz-Content-Sha256" in headers else "x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert headers["x-amz-security-token"] == "token"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_call_unsigned_and_refused(moto, service):
    run(moto, "call", "--direct", "--unsigned", service)
    (headers,) = Service.seen
    assert "Authorization" not in headers
    port = free_port()
    assert "PublicClientCidr1" in run(moto, "call", "--direct", f"http://127.0.0.1:{port}/", expect=2)


# Of the siblings this one: moto knows no second block of a VPC, which the endpoint proxy has, and nobody who is connected to an
# endpoint service.
def test_an_egress_hub_from_nothing_to_destroyed(moto):
    """By the real `aws cloudformation package` and `deploy`, like the fleet above."""
    # moto does not delete what is in nested stacks: those of other tests may be there.
    balancers = lambda: aws(moto, "elbv2", "describe-load-balancers", "--query", "LoadBalancers[].Scheme").split()  # noqa: E731
    before = balancers()
    said = run(moto, "deploy", "--yes", "--design", "egress", "--image", IMAGE, "PrivateLink=off")
    assert "design egress" in said and "cfn/verify --design egress" in said
    stacks = aws(moto, "cloudformation", "describe-stacks", "--query", "Stacks[].StackName").split()
    assert {"latticegate-egress", "latticegate-egress-foundation"} <= set(stacks)
    assert sorted(balancers()) == sorted([*before, "internal"])
    nats = aws(moto, "ec2", "describe-nat-gateways", "--query", "NatGateways[?State=='available'].NatGatewayId").split()
    assert len(nats) == 3
    said = run(moto, "verify", "--design", "egress", expect=1)
    assert "ok    stack latticegate-egress is CREATE_COMPLETE" in said and said.count("ok    NAT gateway") == 3
    run(moto, "destroy", "--yes", "--design", "egress", "--empty")
    left = aws(moto, "cloudformation", "describe-stacks", "--query", "Stacks[].StackName").split()
    assert not {"latticegate-egress", "latticegate-egress-foundation"} & set(left)
    assert "latticegate-egress" not in aws(moto, "s3api", "list-buckets", "--query", "Buckets[].Name")
