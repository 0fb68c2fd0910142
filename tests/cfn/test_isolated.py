"""Every form of the isolated VPC: no way out but endpoints, and a service that needs none."""

from __future__ import annotations

import functools
import itertools

import hub
import modes
import pytest
import resolve
from test_security import as_list, documents, rules_of

ROOT = modes.CFN / "isolated.yaml"
ALWAYS = {name: hub.ALWAYS[name] for name in ("Image", "ImageRepositoryArn", "PolicyBucket", "S3PrefixListId")}
FORMS = [
    {"zones": zones, "DeployingToEC2": ec2, "SecretsManager": secrets, "EnableExec": execute}
    for zones, ec2, secrets, execute in itertools.product((1, 2, 3), ("false", "true"), ("false", "true"), ("false", "true"))
]


def parameters(zones=3, **more):
    return ALWAYS | {f"AvailabilityZone{i}": zone for i, zone in enumerate(modes.ZONES[:zones], 1)} | more


@functools.cache
def _made(form):
    return resolve.resolve(ROOT, parameters(**dict(form)))


def made(form):
    return _made(tuple(form.items()))


every = pytest.mark.parametrize("form", FORMS, ids=str)


@every
def test_nothing_leads_to_the_internet(form):
    vpc = made(form)
    for kind in ("AWS::EC2::InternetGateway", "AWS::EC2::EgressOnlyInternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::EC2::Route", "AWS::ElasticLoadBalancingV2::LoadBalancer"):
        assert not vpc.all(kind)
    assert len(vpc.all("AWS::EC2::Subnet")) == form["zones"] and not [s for s in vpc.all("AWS::EC2::Subnet") if s.properties["MapPublicIpOnLaunch"]]
    assert vpc.one("AWS::ECS::Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    for _, rule in [*rules_of(vpc, "Ingress"), *rules_of(vpc, "Egress")]:
        assert rule["Description"] and rule["IpProtocol"] != "-1" and rule.get("CidrIp") not in ("0.0.0.0/0", "::/0") and "CidrIpv6" not in rule


@every
def test_the_endpoints(form):
    vpc = made(form)
    endpoints = {e.properties["ServiceName"].removeprefix("com.amazonaws.us-east-1."): e.properties for e in vpc.all("AWS::EC2::VPCEndpoint")}
    wanted = {"ecr.api", "ecr.dkr", "logs", "ssm", "ssmmessages", "s3"}
    wanted |= {"ecs", "ecs-agent", "ecs-telemetry"} if form["DeployingToEC2"] == "true" else set()
    wanted |= {"secretsmanager"} if form["SecretsManager"] == "true" else set()
    assert set(endpoints) == wanted and endpoints["s3"]["VpcEndpointType"] == "Gateway"
    # By principals of this account only, where a request says whose it is: those of another one could carry data out.
    for service, endpoint in endpoints.items():
        policy = endpoint.get("PolicyDocument")
        if service in ("ecr.dkr", "ecs-agent", "ecs-telemetry"):
            assert policy is None
        elif service != "s3":
            (statement,) = policy["Statement"]
            assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": modes.ACCOUNT}} and statement["Effect"] == "Allow"
    assert vpc.outputs["S3EndpointId"] in [e.id for e in vpc.all("AWS::EC2::VPCEndpoint") if e.properties["VpcEndpointType"] == "Gateway"]
    # Other containers of the VPC use them as well.
    clients = {r.get("CidrIp") or "tasks" for g, r in rules_of(vpc, "Ingress") if g.name == "AwsEndpointSecurityGroup"}
    assert clients == {"tasks", "192.168.1.0/24"}


@every
def test_the_sample(form):
    vpc = made(form)
    (container,) = vpc.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    assert container["User"] == "65532:65532" and container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert container["ReadonlyRootFilesystem"] is (form["EnableExec"] == "false")
    assert {(r.get("CidrIp"), r["FromPort"]) for g, r in rules_of(vpc, "Ingress") if g.name == "TaskSecurityGroup"} == {("192.168.1.0/24", 8080)}
    roles = {r.name: r.properties for r in vpc.all("AWS::IAM::Role")}
    assert set(roles) == {"ExecutionRole", "TaskRole"} and "Policies" not in roles["TaskRole"]
    for where, document in documents(vpc):
        for statement in document["Statement"]:
            if statement.get("Sid") == "OwnAccount":
                continue
            assert not [a for a in as_list(statement["Action"]) if "*" in a], where
            if as_list(statement.get("Resource", [])) == ["*"]:
                assert set(as_list(statement["Action"])) <= {"ecr:GetAuthorizationToken"} | {f"ssmmessages:{a}{b}Channel" for a in ("Create", "Open") for b in ("Control", "Data")}
    assert vpc.outputs["Design"] == "isolated"


def test_the_samples_command_runs():
    """The program in the task definition, by the Python of this machine."""
    import os
    import subprocess
    import sys
    import urllib.request

    (container,) = made(FORMS[0]).one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    program = container["Command"][2]
    assert container["Command"][:2] == ["python3", "-c"] and '("", 8080)' in program
    # A free port instead of 8080, which it prints.
    program = program.replace('ThreadingHTTPServer(("", 8080), Answer).serve_forever()', 's = ThreadingHTTPServer(("127.0.0.1", 0), Answer); print(s.server_port, flush=True); s.serve_forever()')
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={"PATH": os.environ["PATH"]})
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{int(server.stdout.readline())}/", timeout=20).read()
        assert answer == b"no way to the internet, and all is well\n"
    finally:
        server.kill()
        server.wait()


def test_more_buckets_through_the_gateway():
    vpc = resolve.resolve(ROOT, parameters(BucketArns="arn:aws:s3:::reports"))
    (s3,) = [e.properties for e in vpc.all("AWS::EC2::VPCEndpoint") if e.properties["ServiceName"].endswith(".s3")]
    reached = {arn for s in s3["PolicyDocument"]["Statement"] for arn in as_list(s["Resource"])}
    assert {"arn:aws:s3:::reports", "arn:aws:s3:::reports/*"} < reached and len(reached) == 5


def test_rules_say_what_to_do():
    with pytest.raises(resolve.RuleFailed, match="set 1-3 zones"):
        resolve.resolve(ROOT, parameters(AvailabilityZone1=""))
