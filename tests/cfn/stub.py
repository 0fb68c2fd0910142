"""A machine and an account made of answers: the scripts of cfn/ run with an `aws` that answers from files, a `docker` and a `curl`
that note what they are asked, and tools that know no more than those of macOS.

The PATH holds nothing else: what is not in TOOLS is not installed, and what GNU's tools can do beyond BSD's is refused.
CFN_BASH names the bash to run them with (a bash 3.2, say); else it is the one of this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import modes
import pytest

SCRIPTS = modes.CFN
ACCOUNT = "123456789012"
DIGEST = "sha256:" + "ab" * 32
REPOSITORY = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/latticegate"
IMAGE = f"{REPOSITORY}@{DIGEST}"
TOOLS = "awk basename cat chmod cksum cmp cut date diff dirname env find grep head id jq ls mkdir mktemp od rm sed sh shasum sleep sort tail tee touch tr uname wc xargs"
OLD_BASH = shutil.which(os.environ.get("CFN_BASH", "bash"))

# What BSD's tools do not take; each wrapper refuses it. The pattern is matched against each argument.
REFUSED = {
    "date": "-d|-d*|-I*|--*",
    "find": "-printf|-regextype|-readable",
    "grep": "-P|-*P*|--*",
    "head": "-[0-9]*|-n-*|--*",
    "mktemp": "-p|--*",
    "sed": "-r|-z|-s|-i|--*",
    "sort": "-z|--*",
    "tail": "--*",
    "wc": "--*",
    "xargs": "-r|-d|--*",
}

AWS = r"""#!/bin/sh
# Answers from $STUB/answers, by operation and then by the thing it is asked about; all calls go into $STUB/calls.
echo "$*" >>"$STUB/calls"
service=$1 operation=$2
[ "$service $operation" != "configure get" ] || exit 1
if [ "$operation" = wait ]; then operation=wait-$3; fi
if [ "$service $operation" = "${FAULT_AT:-}" ]; then
    cat "$STUB/fault" >&2
    echo FAULT >>"$STUB/calls"
    exit 254
fi
about='' last='' template=''
for word in "$@"; do
    case $last in
    --stack-name | --bucket | --repository-name | --change-set-name | --role-name | --vpc-endpoint-ids) [ -n "$about" ] && [ "$last" != --change-set-name ] || about=$(echo "$word" | tr -c 'A-Za-z0-9\n-' _) ;;
    --output-template-file) template=$word ;;
    --key) [ "$operation" != get-object ] || about= ;;
    esac
    last=$word
done
for answer in "$operation.$about" "$operation"; do
    file=$STUB/answers/$answer
    if [ -f "$file.once" ]; then
        cat "$file.once"
        rm "$file.once"
        exit 0
    fi
    if [ -f "$file.error" ]; then
        cat "$file.error" >&2
        exit 254
    fi
    [ -f "$file" ] || continue
    case $operation in
    package) cat "$file" >"$template" ;;
    get-object) cat "$file" >"$last" ;;
    *) cat "$file" ;;
    esac
    exit 0
done
case $operation in
describe-stacks) echo "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id $about does not exist" >&2 ;;
*)
    echo "$service $operation ($about)" >>"$STUB/unanswered"
    echo "the stub has no answer for $service $operation" >&2
    ;;
esac
exit 254
"""

ENGINE = r"""#!/bin/sh
# Notes what it is asked. `run IMAGE --version` runs what is in $STUB/images/IMAGE, if anything.
echo "docker $*" >>"$STUB/calls"
[ -f "$STUB/engine" ] || exit 1
for word in "$@"; do image=${last:-} last=$word; done
case $1 in
login) cat >/dev/null ;;
build) [ ! -f "$STUB/builds" ] || for word in "$@"; do [ "${before:-}" != --tag ] || echo "latticegate 0.1.0" >"$STUB/images/$(echo "$word" | tr '/:@' ___)"; before=$word; done ;;
push) [ ! -f "$STUB/pushed" ] || { cat "$STUB/pushed" >"$STUB/answers/describe-images" && rm -f "$STUB/answers/describe-images.error"; }; [ ! -f "$STUB/push-fails" ] || exit 1 ;;
run) cat "$STUB/images/$(echo "$image" | tr '/:@' ___)" 2>/dev/null || { echo "exec /latticegate: exec format error" >&2; exit 255; } ;;
create) echo container-1 ;;
cp) cat "$2" >"$STUB/copied-$(basename "$3")" ;;
start) [ ! -f "$STUB/start-says" ] || cat "$STUB/start-says"; exit "$(cat "$STUB/start-exits" 2>/dev/null || echo 0)" ;;
esac
"""


def stack(name, status="UPDATE_COMPLETE", outputs=(), parameters=(), **more):
    return {
        "Stacks": [
            {
                "StackName": name,
                "StackId": f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/{name}/1",
                "StackStatus": status,
                "Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in dict(outputs).items()],
                "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in dict(parameters).items()],
                **more,
            }
        ]
    }


class Stub:
    """The account and the machine of one test."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.bin = directory / "bin"
        (directory / "answers").mkdir(parents=True)
        (directory / "images").mkdir()
        self.bin.mkdir()
        for tool in TOOLS.split():
            found = shutil.which(tool)
            assert found, f"{tool} is not installed here"
            if tool in REFUSED:
                # BSD's wc pads its numbers.
                run = f'{found} "$@" | sed "s/^/       /"' if tool == "wc" else f'exec {found}{" --posix" if tool == "sed" else ""} "$@"'
                self.tool(tool, f'for word in "$@"; do case $word in {REFUSED[tool]}) echo "{tool}: illegal option -- $word" >&2; exit 64 ;; esac; done\n{run}')
            else:
                (self.bin / tool).symlink_to(found)
        (self.bin / "bash").symlink_to(OLD_BASH)
        for tool, text in (("aws", AWS), ("docker", ENGINE), ("curl", 'echo "curl $*" >>"$STUB/calls"; cat >/dev/null; [ ! -f "$STUB/curl-says" ] || cat "$STUB/curl-says"; exit "$(cat "$STUB/curl-exits" 2>/dev/null || echo 0)"')):
            self.tool(tool, text)
        self.calls_file.touch()
        self.write("engine", "")
        self.env = {"PATH": str(self.bin), "STUB": str(directory), "HOME": str(directory), "AWS_REGION": "us-east-1", "TMPDIR": str(directory), "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "SCAN_PATIENCE": "0"}
        self.account()

    @property
    def calls_file(self):
        return self.directory / "calls"

    def write(self, name, text):
        (self.directory / name).write_text(text if isinstance(text, str) else json.dumps(text))

    def tool(self, name, text):
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def answer(self, operation, value, about=None, once=False):
        name = operation + (f".{about}" if about else "")
        (self.directory / "answers" / f"{name}.error").unlink(missing_ok=True)
        self.write(f"answers/{name}{'.once' if once else ''}", value)

    def error(self, operation, code, message="as given", about=None):
        self.write(f"answers/{operation}{f'.{about}' if about else ''}.error", f"\nAn error occurred ({code}) when calling the Some operation: {message}\n")

    def absent(self, operation, about=None):
        for end in ("", ".error"):
            (self.directory / "answers" / f"{operation}{f'.{about}' if about else ''}{end}").unlink(missing_ok=True)

    def calls(self):
        return self.calls_file.read_text().splitlines()

    def run(self, script, *arguments, **env):
        """The finished process; what was called since the last run is in calls()."""
        self.calls_file.write_text("")
        (self.directory / "unanswered").unlink(missing_ok=True)
        done = subprocess.run([SCRIPTS / script, *map(str, arguments)], env=self.env | env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, cwd=self.directory)
        unanswered = self.directory / "unanswered"
        assert not unanswered.exists(), unanswered.read_text() + done.stderr
        assert "unbound variable" not in done.stderr and "command not found" not in done.stderr and "illegal option" not in done.stderr, done.stderr
        return done

    # ---------- the account ----------
    def account(self):
        """A foundation and a running fleet of the public kind."""
        self.answer("get-caller-identity", ACCOUNT)
        self.foundation()
        self.fleet()
        self.answer("describe-stack-resources", {"StackResources": [{"ResourceType": "AWS::CloudFormation::Stack", "LogicalResourceId": "Proxy", "PhysicalResourceId": "nested-proxy"}]}, "latticegate")
        self.answer("describe-stacks", stack("nested-proxy"), "nested-proxy")
        self.answer(
            "describe-stack-resources",
            {"StackResources": [{"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "lists"}, {"ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "artifacts"}, {"ResourceType": "AWS::ECR::Repository", "PhysicalResourceId": "latticegate"}]},
            "latticegate-foundation",
        )
        self.answer("describe-managed-prefix-lists", "pl-0123456789abcdef0")
        self.answer("describe-availability-zones", {"AvailabilityZones": [{"ZoneName": f"us-east-1{z}", "ZoneId": f"use1-az{i}"} for i, z in ((1, "c"), (2, "b"), (3, "d"), (4, "a"), (5, "e"), (6, "f"))]})
        self.answer("get-service-quota", "100.0")
        self.answer("get-metric-statistics", {"Datapoints": []})
        self.answer("get-role", {"Role": {}})
        self.answer("describe-images", DIGEST)
        self.answer("get-login-password", "password")
        self.answer("head-object", "{}")
        self.answer("put-object", '{"VersionId": "v2"}')
        self.answer("get-object", "rules:\n  - deny: all\n")
        self.answer("list-object-versions", {"Versions": [{"Key": "ipcontrol.yaml", "VersionId": "v1", "LastModified": "2026-01-02", "Size": 1, "IsLatest": True}, {"Key": "ipcontrol.yaml", "VersionId": "v0", "LastModified": "2026-01-01", "Size": 1, "IsLatest": False}]})
        self.answer("deploy", "Successfully created/updated stack\n")
        self.answer("package", "Resources:\n  Proxy:\n    Properties:\n      TemplateURL: https://s3.us-east-1.amazonaws.com/artifacts/templates/1.template\n")
        self.answer("get-template", json.dumps("Resources: {}\n"))
        self.answer("create-change-set", "arn:aws:cloudformation:us-east-1:1:changeSet/x/1")
        self.answer("describe-change-set", {"Status": "CREATE_COMPLETE", "Changes": []})
        self.answer("delete-change-set", "")
        self.answer("describe-stack-events", {"StackEvents": []})
        self.answer("describe-services", {"services": [{"runningCount": 3, "desiredCount": 3, "deployments": [{"status": "PRIMARY", "rolloutState": "COMPLETED"}], "loadBalancers": [{"targetGroupArn": "arn:aws:elasticloadbalancing:x:1:targetgroup/a/1"}]}]})
        self.answer("describe-target-health", {"TargetHealthDescriptions": [{"TargetHealth": {"State": "healthy"}}]})
        self.answer("describe-target-groups", "arn:aws:elasticloadbalancing:x:1:loadbalancer/net/a/1")
        self.answer("describe-load-balancers", {"LoadBalancers": [{"LoadBalancerName": "a", "Scheme": "internet-facing", "State": {"Code": "active"}}]})
        self.answer("describe-vpc-block-public-access-options", "off")
        self.answer("get-service-network-vpc-association", "ACTIVE")

    FOUNDATION = {"ImageRepositoryUri": REPOSITORY, "ImageRepositoryArn": f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/latticegate", "ImageRepositoryName": "latticegate", "PolicyBucket": "lists", "ArtifactBucket": "artifacts", "FleetBoundaryArn": f"arn:aws:iam::{ACCOUNT}:policy/latticegate-foundation-FleetBoundary-1"}
    FLEET = {"PublicName": "public.elb.amazonaws.com", "VpcId": "vpc-1", "ClusterName": "cluster", "ServiceName": "service", "LogGroupName": "log", "PolicyUrl": "s3://lists/ipcontrol.yaml"}
    PARAMETERS = {"DeploymentMode": "PUBLIC", "Image": IMAGE, "ImageRepositoryArn": FOUNDATION["ImageRepositoryArn"], "PolicyBucket": "lists", "PolicyKey": "ipcontrol.yaml", "S3PrefixListId": "pl-1", "LatticePrefixListId": "pl-2", "AvailabilityZone1": "us-east-1a", "TaskSize": "1vCPU-2GB", "MinTasks": "3", "CpuArchitecture": "ARM64", "LatticeAccess": "ASSOCIATION", "KmsKeyArn": "", "VPCLatticeServiceNetwork": "sn-0123456789abcdef0", "AwsEndpoints": "create"}

    def foundation(self, parameters=(), status="CREATE_COMPLETE"):
        self.answer("describe-stacks", stack("latticegate-foundation", status, self.FOUNDATION, dict(parameters) or {"KmsKeyArn": ""}), "latticegate-foundation")

    def fleet(self, parameters=(), outputs=None, **more):
        outputs = self.FLEET | {"VpcAssociationId": "snva-1"} if outputs is None else outputs
        self.answer("describe-stacks", stack("latticegate", outputs=outputs, parameters=self.PARAMETERS | dict(parameters), **more), "latticegate")

    def without_fleet(self):
        self.absent("describe-stacks", "latticegate")

    def with_endpoints(self, names):
        """Endpoint mode, with two networks and three services."""
        self.fleet({"LatticeAccess": "ENDPOINTS", "UpstreamNames": names}, self.FLEET | {"ServiceNetworkEndpointId": "vpce-1", "ServiceNetworkEndpointId2": "vpce-2"})
        self.answer("describe-vpc-endpoints", "available")
        arn = "arn:aws:vpc-lattice:us-east-1:1:service/svc-{}".format
        network = "arn:aws:vpc-lattice:us-east-1:1:servicenetwork/sn-{}".format
        entry = lambda service, net: {"ServiceNetworkArn": network(net), "AssociatedResourceArn": arn(service), "DnsEntry": {"DnsName": f"vpce-{net}-snsa-{service}.hash.vpc-lattice-svcs.us-east-1.on.aws"}}  # noqa: E731
        self.answer("describe-vpc-endpoint-associations", {"VpcEndpointAssociations": [entry("a", 1), entry("b", 1)], "NextToken": "more"}, once=True)
        self.answer("describe-vpc-endpoint-associations", {"VpcEndpointAssociations": [entry("c", 2), {"ServiceNetworkArn": network(2), "AssociatedResourceArn": "arn:aws:vpc-lattice:us-east-1:1:resourceconfiguration/rcfg-1"}]})
        item = lambda service, custom=None: {"serviceArn": arn(service), "dnsEntry": {"domainName": f"{service}-0.7d67968.vpc-lattice-svcs.us-east-1.on.aws"}} | ({"customDomainName": custom} if custom else {})  # noqa: E731
        self.answer("list-service-network-service-associations", {"items": [item("a", "Orders.example.com"), item("b")]}, once=True)
        self.answer("list-service-network-service-associations", {"items": [item("c", "bills.example.com")]})


@pytest.fixture
def stub(tmp_path):
    return Stub(tmp_path / "stub")
