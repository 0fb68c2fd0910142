"""Every form of the load test: the generators' command, what they may reach and do, and the commands that it prints."""

from __future__ import annotations

import functools
import itertools
import json
import shlex
import subprocess

import modes
import pytest
import resolve
from stub import DIGEST, REPOSITORY, stub  # noqa: F401
from test_security import as_list, rules_of

ROOT = modes.CFN / "load-test.yaml"
ALWAYS = {
    "VpcId": "vpc-0fedcba9876543210", "SubnetIds": "subnet-0a010000000000000,subnet-0a020000000000000", "Url": "https://orders.example.com/",
    "Image": modes.IMAGE, "ImageRepositoryArn": modes.ALWAYS["ImageRepositoryArn"],
}  # fmt: skip
SERVICE = f"arn:aws:vpc-lattice:us-east-1:{modes.ACCOUNT}:service/svc-0a1b2c3d4e5f60718"
FORMS = [
    dict(pair for part in choice for pair in part.items())
    for choice in itertools.product(
        [{}, {"ConnectTo": "gate-0123456789abcdef.elb.us-east-1.amazonaws.com"}],
        [{}, {"KeepAlive": "off"}],
        [{}, {"LatticeServiceArn": SERVICE}],
        [{}, {"PermissionsBoundaryArn": f"arn:aws:iam::{modes.ACCOUNT}:policy/boundary", "KmsKeyArn": modes.KEY, "AssignPublicIp": "ENABLED", "CpuArchitecture": "X86_64"}],
    )
]
every = pytest.mark.parametrize("form", FORMS, ids=str)


@functools.cache
def _made(form):
    return resolve.resolve(ROOT, ALWAYS | dict(form), "latticegate-load-test")


def made(form):
    return _made(tuple(form.items()))


def command(stack):
    (container,) = stack.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    return container["Command"]


@every
def test_the_command(form):
    given = command(made(form))
    wanted = ["--url", "https://orders.example.com/"]
    wanted += ["--connect", form["ConnectTo"]] if "ConnectTo" in form else []
    # Unchanged, it is the guidance's load.
    wanted += ["--generators", "5", "--users", "5000", "--rate", "3000", "--ramp", "5min", "--duration", "20min"]
    wanted += ["--no-keep-alive"] if "KeepAlive" in form else []
    wanted += ["--sigv4", "vpc-lattice-svcs"] if "LatticeServiceArn" in form else []
    assert given == [*wanted, "--report", "30s", "--json"]


@every
def test_the_tasks_may_do_nothing_else(form):
    stack = made(form)
    (container,) = stack.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    assert container["User"] == "65532:65532" and container["ReadonlyRootFilesystem"] is True and container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert {"Name": "AWS_REGION", "Value": "us-east-1"} in container["Environment"]
    # A descriptor for each user.
    assert container["Ulimits"][0]["HardLimit"] >= 5000
    roles = {r.name: r.properties for r in stack.all("AWS::IAM::Role")}
    assert set(roles) == {"ExecutionRole", "TaskRole"} and "Policies" not in roles["TaskRole"]
    assert all(r.get("PermissionsBoundary") == form.get("PermissionsBoundaryArn") for r in roles.values())
    invoked = [s for p in stack.all("AWS::IAM::RolePolicy") for s in p.properties["PolicyDocument"]["Statement"]]
    assert invoked == ([{"Effect": "Allow", "Action": "vpc-lattice-svcs:Invoke", "Resource": f"{SERVICE}/*"}] if "LatticeServiceArn" in form else [])
    for statement in roles["ExecutionRole"]["Policies"][0]["PolicyDocument"]["Statement"]:
        assert as_list(statement["Resource"]) != ["*"] or as_list(statement["Action"]) == ["ecr:GetAuthorizationToken"]
    assert not list(rules_of(stack, "Ingress"))
    assert {(r["CidrIp"], r["IpProtocol"], r["FromPort"]) for _, r in rules_of(stack, "Egress")} == {
        ("169.254.169.253/32", "udp", 53), ("169.254.169.253/32", "tcp", 53), ("0.0.0.0/0", "tcp", 443), ("0.0.0.0/0", "tcp", 80),
    }  # fmt: skip
    # Nothing runs, and nothing costs, until somebody starts it.
    assert not stack.all("AWS::ECS::Service")


def run_by_a_shell(stack):
    """The arguments of each call of aws that the command makes, as a user evaluates it."""
    script = 'aws() { printf "%s\\0" "$@"; printf "\\n"; }; eval "$1"'
    printed = subprocess.run(["bash", "-euc", script, "-", stack.outputs["Run"]], capture_output=True, text=True, check=True).stdout
    return [line.split("\0")[:-1] for line in printed.splitlines()]


@every
def test_the_commands_that_it_prints(form):
    stack = made(form)
    calls = run_by_a_shell(stack)
    assert len(calls) == 5
    for number, run in enumerate(calls, 1):
        value = dict(zip(run, run[1:], strict=False))
        assert run[:2] == ["ecs", "run-task"] and value["--count"] == "1" and value["--launch-type"] == "FARGATE"
        assert value["--overrides"] == f"containerOverrides=[{{name=generator,environment=[{{name=LATTICEGATE_LOAD_GENERATOR,value={number}}}]}}]"
    (container,) = stack.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    assert container["Name"] == "generator"
    assert value["--cluster"] == stack.outputs["ClusterName"] and value["--task-definition"] == stack.one("AWS::ECS::TaskDefinition").id
    group = stack.one("AWS::EC2::SecurityGroup").id
    assert value["--network-configuration"] == f"awsvpcConfiguration={{subnets=[{ALWAYS['SubnetIds']}],securityGroups=[{group}],assignPublicIp={form.get('AssignPublicIp', 'DISABLED')}}}"
    reports = shlex.split(stack.outputs["Reports"])
    assert reports[:3] == ["aws", "logs", "filter-log-events"] and stack.outputs["LogGroupName"] in reports
    assert "{ $.generators = 1 }" in reports and "events[].[message]" in reports


def test_the_awscli_takes_the_command():
    """Its own parser: unknown options and malformed structures end it before it asks for anything."""
    from awscli.clidriver import create_clidriver

    driver = create_clidriver()
    arguments = run_by_a_shell(made(FORMS[-1]))[0]
    assert driver.main([*arguments, "--generate-cli-skeleton", "output"]) == 0
    assert driver.main([*arguments, "--no-such-option"]) != 0


@pytest.mark.parametrize("given", [{"Url": "orders.example.com"}, {"Generators": "101"}, {"ConnectTo": "https://nlb"}, {"Image": "latticegate:latest"}, {"LatticeServiceArn": "svc-1"}, {"EgressCidr": ""}])
def test_wrong_parameters_are_refused(given):
    with pytest.raises(resolve.TemplateError):
        resolve.resolve(ROOT, ALWAYS | given)


def test_the_image_of_the_generator(stub):  # noqa: F811
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("pushed", DIGEST)
    done = stub.run("image", "--load-test", REPOSITORY, "X86_64")
    assert (done.returncode, done.stdout) == (0, f"{REPOSITORY}@{DIGEST}\n"), done.stderr
    calls = stub.calls()
    (build,) = [c for c in calls if c.startswith("docker build ")]
    assert "--target load-test" in build and ":load-test-amd64-" in build
    # The stage exists, and the last one is still the product's.
    stages = [line.split()[-1] for line in (modes.CFN.parent / "docker/Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    assert "load-test" in stages and stages[-1] == "scratch"
    assert json.dumps(calls).count("imageTag=load-test-amd64-") == 2
