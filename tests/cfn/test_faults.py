"""Faults of the AWS API, injected into each call of each script: one clear line, an exit status that is not 0, and nothing is changed
after it. "No answer" must never be taken for "not there": that once made a new fleet of a running one.
"""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path

import pytest
from stub import DIGEST, IMAGE, REPOSITORY, Stub, stub  # noqa: F401

FAULTS = {
    "throttled": "\nAn error occurred (Throttling) when calling the Some operation (reached max retries: 4): Rate exceeded\n",
    # The name of the role must not make it look like an expired session.
    "access denied": "\nAn error occurred (AccessDenied) when calling the Some operation: User: arn:aws:sts::1:assumed-role/AWSReservedSSO_Expired/x is not authorized to perform: this\n",
    "expired": "\nAn error occurred (ExpiredToken) when calling the Some operation: The security token included in the request is expired\n",
    # It says "does not exist", and means the session.
    "expired#sso": "\nError loading SSO Token: Token for https://example.awsapps.com/start does not exist\n",
    "no answer": '\nCould not connect to the endpoint URL: "https://some.us-east-1.amazonaws.com/"\n',
}

CHANGES = re.compile(r"^(?!docker)\S+ (deploy|create|delete|put|execute|package|update|tag|start|request)\b|^docker (push|build) ")

# What a script may do without: it says so and goes on. Which faults, all or those named.
OPTIONAL = {
    ("deploy", "service-quotas get-service-quota"): FAULTS,
    ("deploy", "iam get-role"): ["access denied"],
    ("deploy", "iam create-service-linked-role"): ["access denied"],
    ("destroy", "iam get-role"): ["access denied"],
    # Asked when everything is deleted: what else is there.
    ("destroy", "s3api list-buckets"): ["access denied"],
    ("destroy", "iam list-roles"): ["access denied"],
    ("deploy", "cloudwatch get-metric-statistics"): FAULTS,
    ("verify", "cloudwatch get-metric-statistics"): FAULTS,
    ("verify", "service-quotas get-service-quota"): FAULTS,
    ("verify", "iam get-role"): FAULTS,
    ("verify", "ec2 describe-vpc-block-public-access-options"): FAULTS,
    ("verify", "ec2 describe-vpc-block-public-access-exclusions"): FAULTS,
    # That tasks are missing is reported in any case; why they stopped is a help.
    ("verify", "ecs list-tasks"): FAULTS,
    ("verify", "ecs describe-tasks"): FAULTS,
}


def running(stub):
    stub.fleet({}, RoleARN="arn:aws:iam::1:role/pipeline")
    # Asked where the role may not be seen.
    stub.answer("create-service-linked-role", "{}")


def new_fleet(stub):
    stub.without_fleet()
    stub.absent("describe-stacks", "latticegate-foundation")
    # The foundation appears when it is made.
    stub.tool("aws", stub.bin.joinpath("aws").read_text().replace('case $operation in\n    package)', 'case $operation in\n    deploy) cp "$STUB/later" "$STUB/answers/describe-stacks.latticegate-foundation" ;;\n    package)'))
    stub.bin.joinpath("cp").symlink_to("/bin/cp")
    stub.foundation()
    (stub.directory / "answers/describe-stacks.latticegate-foundation").rename(stub.directory / "later")
    stub.error("head-object", "404", "Not Found")
    stub.error("get-role", "NoSuchEntity")
    stub.answer("create-service-linked-role", "{}")


def existing_vpc(stub):
    stub.fleet({"DeploymentMode": "PRIVATE", "ExistingVpcId": "vpc-1", "ExistingPrivateSubnetIds": "subnet-1,subnet-2", "AwsEndpoints": ""})
    stub.answer("describe-vpcs", {"Vpcs": [{"CidrBlockAssociationSet": [{"CidrBlock": "10.0.0.0/16", "CidrBlockState": {"State": "associated"}}]}]})
    stub.answer("describe-subnets", {"Subnets": [{"CidrBlock": "10.0.1.0/24"}]})
    stub.answer("describe-vpc-endpoints", {"VpcEndpoints": []})


def nothing_to_build(stub):
    stub.write("builds", "")


def to_build(stub):
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("pushed", DIGEST)


def to_delete(stub):
    running(stub)
    for bucket in ("lists", "artifacts"):
        stub.answer("list-object-versions", {"Versions": [{"Key": "a", "VersionId": "1"}]}, bucket, once=True)
        stub.answer("list-object-versions", {}, bucket)
    for operation in ("delete-stack", "wait-stack-delete-complete", "head-bucket", "delete-objects", "delete-bucket", "delete-repository"):
        stub.answer(operation, "")
    stub.answer("list-buckets", {"Buckets": []})
    stub.answer("list-roles", "")


def unwell(stub):
    running(stub)
    stub.answer("describe-services", {"services": [{"runningCount": 1, "desiredCount": 3, "loadBalancers": [{"targetGroupArn": "arn:x:targetgroup/a/1"}]}]})
    stub.answer("list-tasks", "task-1")
    stub.answer("describe-tasks", "CannotPullContainerError")
    stub.answer("describe-vpc-block-public-access-options", "block-ingress")
    stub.answer("describe-vpc-block-public-access-exclusions", {"VpcBlockPublicAccessExclusions": []})


def with_endpoints(stub):
    stub.with_endpoints("{}")


def linter(stub):
    stub.tool("latticegate", 'case $1 in --version) echo latticegate 1 ;; esac')
    stub.env["GATE_BINARY"] = str(stub.bin / "latticegate")
    stub.write("list.yaml", "rules:\n  - allow: all\n")


def kept(stub):
    stub.answer("batch-get-image", {"images": [{"imageManifest": "{}", "imageManifestMediaType": "x"}]})
    stub.answer("put-image", "{}")


def to_list(stub):
    linter(stub)
    stub.answer("get-object", "rules:\n  - deny: all\n")


def packaged(stub):
    stub.write("template-url", "https://s3.us-east-1.amazonaws.com/artifacts/templates/root-1.yaml")
    stub.write("parameters.json", "[]")


def scanned(stub):
    stub.answer("describe-image-scan-findings", {"imageScanStatus": {"status": "COMPLETE"}})


# name, script, arguments, the account, calls that must be among those that faults are injected into
CASES = [
    ("update", "deploy", ["--yes"], running, ["cloudformation deploy", "iam get-role", "cloudformation get-template", "cloudformation create-change-set", "cloudformation describe-change-set", "ecr describe-images"]),
    ("creation", "deploy", ["--yes"], new_fleet, ["ec2 describe-availability-zones", "ec2 describe-managed-prefix-lists", "s3api put-object", "s3api head-object", "cloudformation package", "iam create-service-linked-role"]),
    ("existing-vpc", "deploy", ["--yes", "AwsEndpoints=create"], existing_vpc, ["ec2 describe-vpcs", "ec2 describe-subnets", "ec2 describe-vpc-endpoints"]),
    ("plan", "deploy", ["--plan"], running, ["cloudformation create-change-set"]),
    ("dry-run", "deploy", ["--dry-run"], running, ["service-quotas get-service-quota"]),
    ("all", "destroy", ["--yes", "--empty"], to_delete, ["cloudformation delete-stack", "cloudformation wait-stack-delete-complete", "s3api head-bucket", "s3api list-object-versions", "s3api delete-objects", "s3api delete-bucket", "ecr delete-repository", "cloudformation describe-stack-resources", "s3api list-buckets"]),
    ("well", "verify", [], running, ["ecs describe-services", "elbv2 describe-target-health", "elbv2 describe-load-balancers", "vpc-lattice get-service-network-vpc-association", "s3api head-object", "cloudformation describe-stack-resources"]),
    ("unwell", "verify", [], unwell, ["ecs list-tasks", "ecs describe-tasks", "ec2 describe-vpc-block-public-access-exclusions"]),
    ("endpoints", "verify", [], with_endpoints, ["ec2 describe-vpc-endpoints", "ec2 describe-vpc-endpoint-associations"]),
    ("names", "names", [], with_endpoints, ["ec2 describe-vpc-endpoint-associations", "vpc-lattice list-service-network-service-associations"]),
    ("publish", "publish-policy", ["--yes", "{}/list.yaml"], linter, ["s3api get-object", "s3api put-object", "cloudformation describe-stacks"]),
    ("rollback", "publish-policy", ["--yes", "--rollback"], linter, ["s3api list-object-versions", "s3api get-object"]),
    ("history", "publish-policy", ["--history"], linter, ["s3api list-object-versions"]),
    ("call", "call", ["--dry-run", "https://orders.example.com/"], running, ["cloudformation describe-stacks"]),
    ("build", "image", [REPOSITORY], to_build, ["ecr describe-images", "ecr get-login-password"]),
    ("find", "image", ["--find", REPOSITORY], running, ["ecr describe-images"]),
    ("keep", "keep", [IMAGE], kept, ["ecr batch-get-image", "ecr put-image"]),
    ("list", "pipeline/list", ["{}/list.yaml", "s3://lists/ipcontrol.yaml", "s3://artifacts/seen"], to_list, ["s3api get-object"]),
    ("build", "pipeline/build", ["latticegate", REPOSITORY, "ARM64"], running, ["ecr describe-images", "cloudformation describe-stacks"]),
    ("package", "pipeline/package", ["latticegate", IMAGE, "artifacts"], running, ["cloudformation package", "s3api put-object", "cloudformation get-template"]),
    ("plan", "pipeline/plan", ["latticegate", "{}", "arn:aws:iam::1:role/deploy"], packaged, ["cloudformation create-change-set", "cloudformation describe-change-set"]),
    ("scan", "scan", ["latticegate", DIGEST], scanned, ["ecr describe-image-scan-findings", "ecr describe-images"]),
]


def operations(calls):
    """Service and operation of each call of aws, the first of each."""
    found = []
    for words in (call.split() for call in calls):
        if words[0] not in ("docker", "curl", "configure", "FAULT"):
            found.append(f"{words[0]} {words[1]}" if words[1] != "wait" else f"{words[0]} wait-{words[2]}")
    return list(dict.fromkeys(found))


class Case:
    def __init__(self, tmp_path, script, arguments, account):
        self.tmp_path, self.script, self.arguments, self.account = tmp_path, script, arguments, account

    def run(self, fault="", at=""):
        """The finished process, and what it called from the fault on."""
        stub = Stub(self.tmp_path / (at or "none").replace(" ", "-"))  # noqa: F811
        self.account(stub)
        stub.write("fault", FAULTS.get(fault, ""))
        done = stub.run(self.script, *[a.format(stub.directory) for a in self.arguments], FAULT_AT=at)
        calls = stub.calls()
        return done, calls[calls.index("FAULT") + 1 :] if at else calls


@functools.cache
def asked_without_faults(number):
    with tempfile.TemporaryDirectory() as directory:
        _, script, arguments, account, expected = CASES[number]
        asked = operations(Case(Path(directory), script, arguments, account).run()[1])
    assert set(expected) <= set(asked)
    return asked


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{c[1].replace('/', '-')}-{c[0]}" for c in CASES])
def test_a_fault_of_the_api_is_one_clear_line_and_the_end(tmp_path, number, fault):
    _, script, arguments, account, _ = CASES[number]
    asked = asked_without_faults(number)
    # What an earlier case of the script has shown is not shown again, but where another account leads another way.
    if CASES[number][0] not in ("update", "creation") or (CASES[number][0] == "creation" and fault != "throttled"):
        asked = [o for o in asked if not any(o in asked_without_faults(n) for n in range(number) if CASES[n][1] == script)]
    if "#" in fault:
        # Another wording of a fault that is in every call already: one call of each script.
        asked = asked[number % max(len(asked), 1) :][:1]
    for operation in asked:
        done, after = Case(tmp_path, script, arguments, account).run(fault, operation)
        judge(script, fault, operation, done, after)


# Where a fault of each kind would do the most harm: a running fleet, list or stack taken for absent.
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name, operation", [("update", "cloudformation describe-stacks"), ("update", "s3api head-object"), ("all", "s3api head-bucket"), ("publish", "s3api get-object"), ("find", "ecr describe-images"), ("list", "s3api get-object")])
def test_no_fault_is_taken_for_absence(tmp_path, name, operation, fault):
    case = next(c for c in CASES if c[0] == name)
    done, after = Case(tmp_path, *case[1:4]).run(fault, operation)
    judge(case[1], fault, operation, done, after)


def judge(script, fault, operation, done, after):
    where = f"{script} with {fault} at {operation}:\n{done.stdout}\n{done.stderr}"
    if fault in OPTIONAL.get((script, operation), []):
        assert not re.search(r"^\w+: .*%s" % operation, done.stderr, re.M), where
        return
    assert done.returncode != 0, where
    assert not [c for c in after if CHANGES.match(c)], where
    word, operation = fault.split("#")[0], operation.replace("wait-", "wait ")
    lines = re.findall(r"^(?:deploy|destroy|verify|names|publish-policy|call|image|scan|keep|list|build|package|plan): .*$", done.stderr, re.M)
    if script == "verify" and not lines:
        # A part that may not be seen is wrong, and the rest is still looked at; the names are looked at by cfn/names.
        assert re.search(rf"^WRONG .*{word}", done.stdout, re.M), where
        assert word == "access denied" or "associations" in operation, where
        return
    assert len(lines) == 1, where
    assert word in lines[0] and operation in lines[0], where
