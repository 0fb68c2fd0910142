"""The scripts with --design, against a stub account: the right template, configuration and list, and what each design adds."""

from __future__ import annotations

import json
import os
import subprocess

import endpoint_proxy
import hub
import modes
import pytest
import resolve
import test_isolated
import yaml
from stub import DIGEST, IMAGE, REPOSITORY, Stub, stack, stub  # noqa: F401

SERVICE = "vpce-svc-0123456789abcdef0"
OUTPUTS = {
    "egress": {k: v for k, v in Stub.FLEET.items() if k != "PublicName"} | {"PrivateName": "hub.elb.amazonaws.com", "PolicyUrl": "s3://lists/egress-ipcontrol.yaml", "EndpointServiceId": SERVICE, "EndpointServiceName": f"com.amazonaws.vpce.us-east-1.{SERVICE}"},
    "endpoints": {k: v for k, v in Stub.FLEET.items() if k != "PublicName"} | {"PrivateName": "endpoints.elb.amazonaws.com", "PolicyUrl": "s3://lists/vpc-endpoints.ipcontrol.yaml", "PrivateRouteTableIds": "rtb-1"},
    "isolated": {"VpcId": "vpc-1", "ClusterName": "cluster", "ServiceName": "service", "LogGroupName": "log", "PrivateSubnetIds": "subnet-1", "TaskSecurityGroupId": "sg-1"},
}
GIVEN = {"egress": hub.USUAL.parameters(), "endpoints": endpoint_proxy.USUAL.parameters(), "isolated": test_isolated.parameters()}
TEMPLATES = {"egress": "egress-hub.yaml", "endpoints": "endpoint-proxy.yaml", "isolated": "isolated.yaml"}


def running(stub, design, parameters=(), outputs=()):  # noqa: F811
    """A fleet of that design beside the one of the stub, with its foundation."""
    name = f"latticegate-{design}"
    stub.answer("describe-stacks", stack(name, outputs=OUTPUTS[design] | {"Design": design} | dict(outputs), parameters=GIVEN[design] | {"Image": IMAGE} | dict(parameters)), name)
    stub.answer("describe-stacks", stack(f"{name}-foundation", outputs=stub.FOUNDATION, parameters={"KmsKeyArn": ""}), f"{name}-foundation")
    stub.answer("describe-stack-resources", {"StackResources": []})
    stub.answer("describe-nat-gateways", {"NatGateways": [{"NatGatewayId": "nat-1", "State": "available"}]})
    stub.answer("describe-vpc-endpoint-service-configurations", {"ServiceConfigurations": [{"ServiceState": "Available"}]})
    stub.answer("describe-vpc-endpoint-connections", {"VpcEndpointConnections": []})
    stub.answer("describe-internet-gateways", "")
    stub.answer("describe-egress-only-internet-gateways", {"EgressOnlyInternetGateways": [{"EgressOnlyInternetGatewayId": "eigw-0", "Attachments": [{"VpcId": "vpc-2"}]}]})
    stub.answer("describe-route-tables", {"RouteTables": []})
    stub.answer("describe-vpc-endpoint-services", {"ServiceDetails": []})
    stub.answer("describe-vpc-endpoints", {"VpcEndpoints": [{"VpcEndpointId": "vpce-1", "ServiceName": "com.amazonaws.us-east-1.s3", "State": "available"}, {"VpcEndpointId": "vpce-2", "ServiceName": "com.amazonaws.us-east-1.ecr.api", "State": "available"}]})


def new(stub, design):  # noqa: F811
    """Nothing of it is there; the foundation and the fleet are, once they were deployed."""
    running(stub, design)
    name = f"latticegate-{design}"
    for part in (name, f"{name}-foundation"):
        (stub.directory / f"answers/describe-stacks.{part}").rename(stub.directory / f"later-{part}")
    deployed = 'case $operation in\n    deploy) [ ! -f "$STUB/later-$about" ] || cp "$STUB/later-$about" "$STUB/answers/describe-stacks.$about" ;;\n    package)'
    stub.tool("aws", stub.bin.joinpath("aws").read_text().replace("case $operation in\n    package)", deployed))
    stub.bin.joinpath("cp").symlink_to("/bin/cp")
    stub.error("head-object", "404", "Not Found")
    stub.answer("describe-addresses", "1")
    stub.answer("describe-vpc-endpoint-services", services("us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"))
    stub.answer("get-managed-prefix-list-entries", {"Entries": [{"Cidr": "52.216.0.0/15"}, {"Cidr": "16.15.176.0/20"}]})


def services(*zones, names=()):
    """What AWS says of S3, and of services with the names that lead to them."""
    kind = lambda k, service="s3", **more: {"ServiceName": f"com.amazonaws.us-east-1.{service}", "ServiceType": [{"ServiceType": k}], "AvailabilityZones": list(zones) if k == "Interface" else []} | more  # noqa: E731
    others = [kind("Interface", service, **({"PrivateDnsNames": [{"PrivateDnsName": n} for n in of]} if of else {})) for service, of in dict(names).items()]
    return {"ServiceDetails": [kind("Gateway"), kind("Interface"), *others]}


def deployment(stub, name):  # noqa: F811
    (call,) = [c for c in stub.calls() if c.startswith("cloudformation deploy ") and f"--stack-name {name} " in c]
    return dict(pair.split("=", 1) for pair in call.partition("--parameter-overrides ")[2].split())


# ---------- which design ----------
@pytest.mark.parametrize("design", TEMPLATES)
def test_a_new_fleet_of_each_design(stub, design):  # noqa: F811
    new(stub, design)
    wanted = {"egress": ["PrivateLinkPrincipals=arn:aws:iam::111122223333:root"], "endpoints": [f"BucketArns={endpoint_proxy.BUCKETS}"], "isolated": []}[design]
    done = stub.run("deploy", "--yes", "--design", design, "--image", IMAGE, *wanted, AWS_REGION="eu-west-1")
    assert done.returncode == 0, done.stderr
    given = deployment(stub, f"latticegate-{design}")
    (package,) = [c for c in stub.calls() if c.startswith("cloudformation package")]
    assert f"/{TEMPLATES[design]} " in package
    assert [given[f"AvailabilityZone{i}"] for i in (1, 2, 3)] == ["us-east-1a", "us-east-1b", "us-east-1c"]
    assert given["Image"] == IMAGE and given["S3PrefixListId"].startswith("pl-") and "LatticePrefixListId" not in given
    assert ("PermissionsBoundaryArn" in given) == (design != "isolated")
    puts = [c for c in stub.calls() if c.startswith("s3api put-object") and "--bucket lists" in c]
    assert len(puts) == (design != "isolated")
    for put in puts:
        assert {"egress": "--key egress-ipcontrol.yaml", "endpoints": "--key vpc-endpoints.ipcontrol.yaml"}[design] in put
    assert "cfn/verify --design" in done.stderr and f"design {design}" in done.stderr
    assert "cfn/call" not in done.stderr


@pytest.mark.parametrize("design", TEMPLATES)
def test_zones_in_which_no_task_runs_are_left_out(stub, design):  # noqa: F811
    """use1-az3 has neither NAT gateways nor Graviton; zones without Lattice alone are no hindrance."""
    new(stub, design)
    stub.answer("describe-availability-zones", {"AvailabilityZones": [{"ZoneName": f"us-east-1{z}", "ZoneId": i} for z, i in zip("abcd", ("use1-az3", "euc1-az2", "use1-az1", "use1-az2"))]})
    wanted = [f"BucketArns={endpoint_proxy.BUCKETS}"] if design == "endpoints" else []
    done = stub.run("deploy", "--dry-run", "--design", design, "--image", IMAGE, *wanted)
    assert done.returncode == 0 and "zones: us-east-1b us-east-1c us-east-1d" in done.stderr, done.stderr
    stub.answer("describe-availability-zones", {"AvailabilityZones": [{"ZoneName": "us-east-1a", "ZoneId": "use1-az3"}, {"ZoneName": "us-east-1b", "ZoneId": "use1-az1"}]})
    done = stub.run("deploy", "--dry-run", "--design", design, "--image", IMAGE, *wanted)
    assert done.returncode == 1 and "fewer than 3 zones with Fargate" in done.stderr and "--zones 1" in done.stderr


def test_a_stack_says_itself_of_which_design_it_is(stub):  # noqa: F811
    running(stub, "egress")
    done = stub.run("deploy", "--yes", "--stack", "latticegate-egress", "NatGateways=single")
    assert done.returncode == 0, done.stderr
    assert deployment(stub, "latticegate-egress")["NatGateways"] == "single"
    # And is not taken for another one.
    done = stub.run("deploy", "--yes", "--stack", "latticegate-egress", "--design", "isolated")
    assert done.returncode == 1 and "is of the design egress, not isolated" in done.stderr
    # What was deployed before there were designs.
    done = stub.run("deploy", "--yes", "--design", "egress", "--stack", "latticegate")
    assert done.returncode == 1 and "is of the design lattice, not egress" in done.stderr
    for script in ("deploy", "verify", "destroy", "call", "publish-policy"):
        done = stub.run(script, "--design", "nothing", *(["https://a.example/"] if script == "call" else []))
        assert done.returncode == 1 and "there is no design nothing" in done.stderr, script
    assert "has no parameter LatticeAccess" in stub.run("deploy", "--yes", "--design", "egress", "LatticeAccess=ENDPOINTS").stderr


def test_the_first_list_has_the_region_in_its_names(stub):  # noqa: F811
    new(stub, "endpoints")
    stub.tool("aws", stub.bin.joinpath("aws").read_text().replace("case $operation in\n    deploy)", 'case $operation in\n    put-object) for word in "$@"; do [ "${before:-}" != --body ] || cat "$word" >"$STUB/uploaded-$(basename "$word")"; before=$word; done; cat "$file" ;;\n    deploy)'))
    done = stub.run("deploy", "--yes", "--design", "endpoints", "--image", IMAGE, f"BucketArns={endpoint_proxy.BUCKETS}", AWS_REGION="eu-west-1")
    assert done.returncode == 0, done.stderr
    text = (stub.directory / "uploaded-first.yaml").read_text()
    assert 's3.eu-west-1.amazonaws.com"' in text and "us-east-1" not in text and "services" not in text
    # Those of other services as AWS says them: they are not formed by one rule.
    names = ["*.execute-api.us-east-1.amazonaws.com", "sqs.us-east-1.amazonaws.com"]
    stub.answer("describe-vpc-endpoint-services", services("us-east-1a", "us-east-1b", "us-east-1c", names={"execute-api": names[:1], "sqs": names[1:]}))
    for name in ("latticegate-endpoints", "latticegate-endpoints-foundation"):
        stub.absent("describe-stacks", name)
    done = stub.run("deploy", "--yes", "--design", "endpoints", "--image", IMAGE, f"BucketArns={endpoint_proxy.BUCKETS}", "Services=execute-api,sqs")
    assert done.returncode == 0 and " ".join(names) in done.stderr, done.stderr
    text = (stub.directory / "uploaded-first.yaml").read_text()
    rules = yaml.safe_load(text)["rules"]
    assert [r.get("to") for r in rules] == [["*.s3.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com"], names, None] and rules[-1] == {"deny": "all"}
    (stub.directory / "first.yaml").write_text(text)
    linted = subprocess.run([os.environ["GATE_BINARY"], "check", "--strict", "--config", modes.CFN.parent / "conf/vpc-endpoints.yaml"], env=os.environ | {"LATTICEGATE_POLICY": str(stub.directory / "first.yaml")}, capture_output=True, text=True, timeout=60)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    # China's have another end.
    for name in ("latticegate-endpoints", "latticegate-endpoints-foundation"):
        stub.absent("describe-stacks", name)
    stub.answer("describe-vpc-endpoint-services", services("us-east-1a", "us-east-1b", "us-east-1c"))
    assert stub.run("deploy", "--yes", "--design", "endpoints", "--image", IMAGE, f"BucketArns={endpoint_proxy.BUCKETS}", AWS_REGION="cn-north-1").returncode == 0
    rules = yaml.safe_load((stub.directory / "uploaded-first.yaml").read_text())["rules"]
    assert rules[0]["to"] == ["*.s3.cn-north-1.amazonaws.com.cn", "s3.cn-north-1.amazonaws.com.cn"]


def test_the_networks_of_a_gateway_endpoint(stub):  # noqa: F811
    new(stub, "endpoints")
    done = stub.run("networks", "s3")
    assert (done.returncode, done.stdout) == (0, "16.15.176.0/20,52.216.0.0/15\n"), done.stderr
    assert stub.run("networks", "sqs").returncode == 1
    done = stub.run("deploy", "--yes", "--design", "endpoints", "--image", IMAGE, f"BucketArns={endpoint_proxy.BUCKETS}", "S3Access=gateway")
    assert done.returncode == 0, done.stderr
    assert deployment(stub, "latticegate-endpoints")["S3Networks"] == "16.15.176.0/20,52.216.0.0/15"
    # Asked again each time: AWS adds some.
    running(stub, "endpoints", {"S3Access": "gateway", "S3Networks": "16.15.176.0/20"})
    assert stub.run("deploy", "--yes", "--design", "endpoints").returncode == 0
    assert deployment(stub, "latticegate-endpoints")["S3Networks"] == "16.15.176.0/20,52.216.0.0/15"


def test_what_the_account_lacks_is_said_first(stub):  # noqa: F811
    refused = lambda *arguments: (stub.run("deploy", "--yes", "--image", IMAGE, *arguments), [c for c in stub.calls() if " deploy " in c])  # noqa: E731
    new(stub, "egress")
    stub.answer("describe-addresses", "3")
    stub.answer("get-service-quota", "5.0")
    done, made = refused("--design", "egress")
    assert done.returncode == 1 and not made and "need 3 Elastic IPs; 3 of the 5 of this region are in use" in done.stderr and "--desired-value 6" in done.stderr
    assert stub.run("deploy", "--dry-run", "--design", "egress", "NatGateways=single").returncode == 0
    assert stub.run("deploy", "--dry-run", "--design", "egress", "--zones", "2").returncode == 0
    stub.error("describe-addresses", "UnauthorizedOperation")
    done = stub.run("deploy", "--dry-run", "--design", "egress")
    assert done.returncode == 0 and "whether 3 Elastic IPs can be had cannot be seen" in done.stderr


def test_zones_and_services_without_endpoints_are_said_first(stub):  # noqa: F811
    refused = lambda *arguments: (stub.run("deploy", "--yes", "--image", IMAGE, *arguments), [c for c in stub.calls() if " deploy " in c])  # noqa: E731
    new(stub, "endpoints")
    stub.answer("describe-vpc-endpoint-services", services("us-east-1a", "us-east-1b"))
    done, made = refused("--design", "endpoints", f"BucketArns={endpoint_proxy.BUCKETS}")
    assert done.returncode == 1 and not made and "com.amazonaws.us-east-1.s3 has no endpoints in us-east-1c" in done.stderr
    stub.error("describe-vpc-endpoint-services", "InvalidServiceName", "The Vpc Endpoint Service 'com.amazonaws.us-east-1.sqz' does not exist")
    done, made = refused("--design", "endpoints", f"BucketArns={endpoint_proxy.BUCKETS}", "Services=sqz")
    assert done.returncode == 1 and not made and "'com.amazonaws.us-east-1.sqz' does not exist" in done.stderr
    (call,) = [c for c in stub.calls() if "describe-vpc-endpoint-services" in c]
    assert "--service-names com.amazonaws.us-east-1.sqz com.amazonaws.us-east-1.s3 " in call


def test_a_hub_in_an_existing_vpc_never_dials_it(stub):  # noqa: F811
    new(stub, "egress")
    associated = lambda key, c: {key: c, key + "State": {"State": "associated"}}  # noqa: E731
    stub.answer("describe-vpcs", {"Vpcs": [{"CidrBlockAssociationSet": [associated("CidrBlock", "10.20.0.0/16"), associated("CidrBlock", "10.21.0.0/20")], "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": "2600:1f18:9999::/56", "Ipv6CidrBlockState": {"State": "associated"}}]}]})
    stub.answer("describe-subnets", {"Subnets": [{"SubnetId": "subnet-1", "CidrBlock": "10.20.1.0/24", "VpcId": "vpc-1", "AvailabilityZoneId": "use1-az1"}]})
    table = lambda way, **association: {"Associations": [association], "Routes": [{"DestinationCidrBlock": "10.20.0.0/16", "GatewayId": "local", "State": "active"}, *([{"DestinationCidrBlock": "0.0.0.0/0", "State": "active"} | way] if way else [])]}  # noqa: E731
    nat, igw = {"NatGatewayId": "nat-1"}, {"GatewayId": "igw-1"}
    hub_there = ["--design", "egress", "ExistingVpcId=vpc-1", "ExistingPrivateSubnetIds=subnet-1"]
    # Its own table decides, else the main one.
    stub.answer("describe-route-tables", {"RouteTables": [table(nat, Main=True), table(igw, SubnetId="subnet-1")]})
    assert "the route of subnet-1 to 0.0.0.0/0 is an internet gateway" in refused(stub, *hub_there)
    stub.answer("describe-route-tables", {"RouteTables": [table(igw, SubnetId="subnet-2"), table(None, Main=True)]})
    assert "subnet-1 has no route to 0.0.0.0/0" in stub.run("deploy", "--dry-run", "--image", IMAGE, *hub_there).stderr
    stub.answer("describe-route-tables", {"RouteTables": [table(igw, Main=True), table(nat, SubnetId="subnet-1")]})
    stub.answer("describe-vpc-endpoints", {"VpcEndpoints": [{"ServiceName": "com.amazonaws.us-east-1.sqs", "PrivateDnsEnabled": True}, {"ServiceName": "com.amazonaws.us-east-1.s3"}]})
    done = stub.run("deploy", "--yes", "--image", IMAGE, *hub_there)
    assert done.returncode == 0 and "no route" not in done.stderr, done.stderr
    assert "vpc-1 has endpoints for com.amazonaws.us-east-1.sqs: these names lead to private addresses" in done.stderr
    given = deployment(stub, "latticegate-egress")
    assert given["ExistingVpcCidrs"] == "10.20.0.0/16,10.21.0.0/20,2600:1f18:9999::/56" and given["ExistingPrivateSubnetCidrs"] == "10.20.1.0/24"


def test_the_image_of_the_isolated_sample_is_copied(stub):  # noqa: F811
    new(stub, "isolated")
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("pushed", DIGEST)
    done = stub.run("deploy", "--yes", "--design", "isolated")
    assert done.returncode == 0, done.stderr
    (build,) = [c for c in stub.calls() if c.startswith("docker build")]
    assert "--platform linux/arm64" in build and "docker/Dockerfile" not in build
    assert [c for c in stub.calls() if c.startswith(f"docker push {REPOSITORY}:arm64-python-3.13-alpine-")]
    assert deployment(stub, "latticegate-isolated")["Image"] == f"{REPOSITORY}@{DIGEST}"


# ---------- mistakes ----------
def refused(stub, *arguments):  # noqa: F811
    done = stub.run("deploy", "--yes", "--image", IMAGE, *arguments)
    assert done.returncode == 1 and not [c for c in stub.calls() if " deploy " in c or "put-object" in c], done.stderr
    return done.stderr


def test_what_is_missing_is_said_before_anything_is_made(stub):  # noqa: F811
    new(stub, "endpoints")
    said = refused(stub, "--design", "endpoints")
    assert "BucketArns is not set" in said and "BucketArns=..., arn:aws:s3:::BUCKET, comma-separated" in said
    assert "arn:aws:s3:::BUCKET, comma-separated" in refused(stub, "--design", "endpoints", "BucketArns=")


@pytest.mark.parametrize("principals", ["111122223333", "arn:aws:iam::11112222333:root", "arn:aws:iam::111122223333:root;arn:aws:iam::444455556666:root", "o-a1b2c3d4e5"])
def test_principals_that_are_none(stub, principals):  # noqa: F811
    new(stub, "egress")
    said = refused(stub, "--design", "egress", f"PrivateLinkPrincipals={principals}")
    assert f"PrivateLinkPrincipals={principals}" in said and "arn:aws:iam::111122223333:root" in said


def test_a_parameter_that_is_nearly_one(stub):  # noqa: F811
    new(stub, "egress")
    assert "no parameter NatGateway\n  help: perhaps NatGateways; the names: Image " in refused(stub, "--design", "egress", "NatGateway=single")
    assert "perhaps PrivateLinkPrincipals; " in refused(stub, "--design", "egress", "Principals=x")
    assert "help: the names: " in refused(stub, "--design", "egress", "Nonsense=1")


def test_an_option_with_an_equals_sign(stub):  # noqa: F811
    said = refused(stub, "--design=egress")
    assert "unknown argument --design=egress" in said and "two words: --design egress" in said
    done = stub.run("call", "--design=egress", "https://a.example/")
    assert done.returncode == 1 and "unknown option --design=egress" in done.stderr


def test_a_stack_that_is_none_of_ours_is_left_alone(stub):  # noqa: F811
    for description in ("The shop", "latticegate foundation. What must exist before the fleet"):
        stub.answer("describe-stacks", stack("shop", outputs={"Url": "x"}, Description=description), "shop")
        for script in ("deploy", "destroy", "verify"):
            done = stub.run(script, *([] if script == "verify" else ["--yes"]), "--stack", "shop")
            assert done.returncode == 1 and f"stack shop is none of these designs: {description}" in done.stderr, done.stderr
            assert not [c for c in stub.calls() if "delete" in c or " deploy " in c]


@pytest.mark.parametrize("root, design", [(modes.ROOT, "lattice"), (hub.ROOT, "egress"), (modes.CFN / "egress-spoke.yaml", "spoke"), (endpoint_proxy.ROOT, "endpoints"), (test_isolated.ROOT, "isolated")])
def test_a_stack_that_failed_says_by_its_description_what_it_is(stub, root, design):  # noqa: F811
    """It has no outputs."""
    description = resolve.decode(str(root))[0]["Description"]
    stub.answer("describe-stacks", stack("mine", "ROLLBACK_COMPLETE", Description=description), "mine")
    stub.absent("describe-stacks", "mine-foundation")
    stub.answer("describe-stack-resources", {"StackResources": []})
    done = stub.run("destroy", "--dry-run", "--stack", "mine", "--design", design)
    assert done.returncode == 0 and "would delete stack mine (ROLLBACK_COMPLETE)" in done.stderr, done.stderr
    other = "egress" if design != "egress" else "isolated"
    assert f"is of the design {design}, not {other}" in stub.run("destroy", "--dry-run", "--stack", "mine", "--design", other).stderr
    done = stub.run("verify", "--stack", "mine")
    assert done.returncode == 1 and "WRONG stack mine is ROLLBACK_COMPLETE" in done.stdout and "1 wrong" in done.stdout, done.stdout + done.stderr
    # Why, before it is forgotten.
    arn = stack("mine")["Stacks"][0]["StackId"]
    event = {"StackId": arn, "Timestamp": "2026-01-02", "LogicalResourceId": "Network", "ResourceType": "AWS::EC2::VPC", "PhysicalResourceId": "", "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": "The maximum number of VPCs has been reached."}
    stub.answer("describe-stack-events", {"StackEvents": [event, event | {"PhysicalResourceId": arn, "Timestamp": "2026-01-01", "ResourceStatus": "CREATE_IN_PROGRESS"}]})
    said = stub.run("deploy", "--yes", "--stack", "mine").stderr
    assert "Network (AWS::EC2::VPC): The maximum number of VPCs has been reached." in said
    assert "mine is ROLLBACK_COMPLETE and can only be deleted" in said and "cfn/destroy --stack mine, then cfn/deploy again" in said


def test_services_keep_their_places(stub):  # noqa: F811
    """Two endpoints of one service in a VPC are what AWS refuses: none may move while its old one stands."""
    stub.answer("describe-vpc-endpoint-services", services())
    for has, wanted, becomes in [
        ("sqs,kms,sts", "sts,kms,sqs", "sqs,kms,sts"), ("sqs,kms,sts", "sqs,sts", "sqs,,sts"), ("sqs,,sts", "sqs,sts,sns", "sqs,sns,sts"), ("sqs,kms", "", ""),
        ("sqs,kms", "sns,sqs", "sqs,sns"), ("", "sqs,kms", "sqs,kms"), ("sqs,kms", "sqs,kms,sts", "sqs,kms,sts"), ("sqs,kms,sts", "sqs", "sqs"), ("sqs,kms", "sns", "sns"),
    ]:  # fmt: skip
        running(stub, "endpoints", {"Services": has})
        done = stub.run("deploy", "--yes", "--design", "endpoints", f"Services={wanted}")
        assert done.returncode == 0, done.stderr
        assert deployment(stub, "latticegate-endpoints")["Services"] == becomes, (has, wanted)
        assert not endpoint_proxy.moved(has, becomes)


def test_a_service_without_a_name_of_its_own(stub):  # noqa: F811
    new(stub, "endpoints")
    stub.answer("describe-vpc-endpoint-services", services("us-east-1a", "us-east-1b", "us-east-1c", names={"dynamodb": [], "sqs": ["sqs.us-east-1.amazonaws.com"]}))
    said = refused(stub, "--design", "endpoints", f"BucketArns={endpoint_proxy.BUCKETS}", "Services=sqs,dynamodb")
    assert "com.amazonaws.us-east-1.dynamodb has no private DNS name" in said and "omit dynamodb" in said


def test_zones_that_contradict_each_other(stub):  # noqa: F811
    """One of both would be ignored, and the VPC made with fewer zones than were asked for, or in none that is there."""
    new(stub, "egress")
    said = refused(stub, "--design", "egress", "--zones", "2", "AvailabilityZone1=us-east-1a")
    assert "--zones 2 and AvailabilityZone1=us-east-1a" in said and "one of both" in said
    assert "--zones is for a new VPC, and ExistingVpcId=vpc-1 is there" in refused(stub, "--design", "egress", "--zones", "2", "ExistingVpcId=vpc-1", "ExistingPrivateSubnetIds=subnet-1")
    said = refused(stub, "--design", "egress", "AvailabilityZone1=us-east-1a", "AvailabilityZone2=eu-west-1b")
    assert "AvailabilityZone2=eu-west-1b is not in us-east-1" in said and "AWS_REGION" in said
    said = refused(stub, "--design", "egress", "AvailabilityZone1=us-east-1g")
    assert "AvailabilityZone1=us-east-1g is no zone of account 123456789012" in said and "us-east-1a us-east-1b" in said
    # Which zones lack what is known from a list, which may be old: a question.
    dry = lambda *arguments: stub.run("deploy", "--dry-run", "--image", IMAGE, *arguments)  # noqa: E731
    done = dry("--design", "egress", "AvailabilityZone1=us-east-1d")
    assert done.returncode == 0 and "AvailabilityZone1=us-east-1d is use1-az3, where Fargate is not" in done.stderr, done.stderr
    assert "is not" not in dry("--design", "egress", "AvailabilityZone1=us-east-1a").stderr


@pytest.mark.parametrize("design, change", [("egress", "AvailabilityZone3=us-east-1f"), ("endpoints", "AvailabilityZone1=us-east-1f"), ("endpoints", "EndpointVpcCidr=100.64.2.0/23")])
def test_subnets_that_cannot_move(stub, design, change):  # noqa: F811
    """CloudFormation makes the new one first, of the same block, which AWS refuses when half of the update is done."""
    running(stub, design)
    said = refused(stub, "--design", design, change)
    key, _, to = change.partition("=")
    assert f"{key} is " in said and f" and cannot become {to}" in said and "a second fleet beside it" in said
    # A zone more is none that moves, and in an existing VPC a zone names alarms only.
    running(stub, "egress", {"AvailabilityZone3": ""})
    stub.answer("describe-addresses", "0")
    stub.answer("get-service-quota", "5.0")
    assert stub.run("deploy", "--dry-run", "--design", "egress", "--image", IMAGE, "AvailabilityZone3=us-east-1f").returncode == 0


def test_a_hub_that_grows_needs_addresses_too(stub):  # noqa: F811
    running(stub, "egress", {"NatGateways": "single"})
    stub.answer("describe-addresses", "4")
    stub.answer("get-service-quota", "5.0")
    assert "need 2 Elastic IPs; 4 of the 5" in refused(stub, "--design", "egress", "NatGateways=in-each-zone")
    running(stub, "egress")
    assert stub.run("deploy", "--yes", "--design", "egress", "NatGateways=single").returncode == 0
    assert not [c for c in stub.calls() if "describe-addresses" in c]


def test_principals_that_are_not_said_again(stub):  # noqa: F811
    """What is said replaces the list: one account more is the end of the others, if only that one is named."""
    running(stub, "egress")
    others = "arn:aws:iam::444455556666:root,arn:aws:iam::777788889999:root"
    said = lambda principals: stub.run("deploy", "--dry-run", "--design", "egress", "--image", IMAGE, f"PrivateLinkPrincipals={principals}").stderr  # noqa: E731
    assert f"PrivateLinkPrincipals no longer has {others}: " in said("arn:aws:iam::111122223333:root")
    assert "no longer has arn:aws:iam::777788889999:root: " in said("arn:aws:iam::444455556666:root, arn:aws:iam::111122223333:root")
    assert "no longer has" not in said(f"{others},arn:aws:iam::111122223333:root") and "no longer has" not in said("*")
    done = stub.run("deploy", "--design", "egress", "--image", IMAGE, "PrivateLinkPrincipals=")
    assert done.returncode == 1 and "Change it all the same? needs a yes" in done.stderr


def test_an_endpoint_service_with_consumers_stays(stub):  # noqa: F811
    """AWS would refuse to delete it, at the end of the update."""
    running(stub, "egress")
    stub.answer("describe-vpc-endpoint-connections", {"VpcEndpointConnections": [{"VpcEndpointId": "vpce-1", "VpcEndpointOwner": "111122223333", "VpcEndpointState": "available"}]})
    off = ["--design", "egress", "PrivateLink=off", "PrivateLinkPrincipals=", "PrivateLinkDnsName="]
    assert f"consumers are connected to the endpoint service {SERVICE}: vpce-1 of 111122223333" in refused(stub, *off)
    stub.answer("describe-vpc-endpoint-connections", {"VpcEndpointConnections": []})
    assert stub.run("deploy", "--yes", "--image", IMAGE, *off).returncode == 0


def test_what_comes_after_a_hub(stub):  # noqa: F811
    running(stub, "egress", {"PrivateLinkPrincipals": ""})
    said = stub.run("deploy", "--yes", "--design", "egress").stderr
    assert "nobody may connect yet" in said and f"--design spoke EndpointServiceName=com.amazonaws.vpce.us-east-1.{SERVICE} VpcId=" in said
    running(stub, "egress", {"PrivateLink": "off", "PrivateLinkPrincipals": "", "PrivateLinkDnsName": ""}, {"EndpointServiceId": "", "EndpointServiceName": ""})
    said = stub.run("deploy", "--yes", "--design", "egress").stderr
    assert "EndpointServiceName=" not in said and "whose proxy is http://hub.elb.amazonaws.com:3128" in said


# ---------- verify ----------
def verified(stub, design):  # noqa: F811
    done = stub.run("verify", "--design", design)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("design, parts", [
    ("egress", ["NAT gateway nat-1 is available", f"endpoint service com.amazonaws.vpce.us-east-1.{SERVICE} is available", "0 consumers are connected", "access list s3://lists/egress-ipcontrol.yaml"]),
    ("endpoints", ["3 of 3 tasks", "access list s3://lists/vpc-endpoints.ipcontrol.yaml"]),
    ("isolated", ["vpc-1 has no internet gateway and no NAT gateway", "3 of 3 tasks"]),
])  # fmt: skip
def test_what_is_well(stub, design, parts):  # noqa: F811
    running(stub, design)
    if design == "isolated":
        stub.answer("describe-nat-gateways", "")
        stub.answer("describe-services", {"services": [{"runningCount": 3, "desiredCount": 3, "deployments": [{"status": "PRIMARY", "rolloutState": "COMPLETED"}]}]})
    code, said = verified(stub, design)
    assert code == 0 and "all is well" in said and "WRONG" not in said, said
    for part in parts:
        assert part in said
    assert "association" not in said


def test_the_proof_of_the_private_name_is_shown(stub):  # noqa: F811
    running(stub, "egress")
    state = lambda s: {"ServiceConfigurations": [{"ServiceState": "Available", "PrivateDnsName": "proxy.example.com", "PrivateDnsNameConfiguration": {"State": s, "Name": "_6e86", "Value": "vpce:l6p0"}}]}  # noqa: E731
    stub.answer("describe-vpc-endpoint-service-configurations", state("pendingVerification"))
    code, said = verified(stub, "egress")
    assert code == 1 and 'publish TXT _6e86.proxy.example.com "vpce:l6p0"' in said and "up to 10 minutes" in said and f"start-vpc-endpoint-service-private-dns-verification --service-id {SERVICE}" in said
    stub.answer("describe-vpc-endpoint-service-configurations", state("verified"))
    code, said = verified(stub, "egress")
    assert code == 0 and "AWS has verified proxy.example.com" in said


def test_a_spoke_that_waits_and_a_nat_gateway_that_failed(stub):  # noqa: F811
    running(stub, "egress")
    stub.answer("describe-vpc-endpoint-connections", {"VpcEndpointConnections": [{"VpcEndpointId": "vpce-1", "VpcEndpointOwner": "111122223333", "VpcEndpointState": "pendingAcceptance"}]})
    code, said = verified(stub, "egress")
    assert code == 0 and "waiting to be accepted: vpce-1 of 111122223333" in said and f"accept-vpc-endpoint-connections --service-id {SERVICE} --vpc-endpoint-ids vpce-1\n" in said
    stub.answer("describe-nat-gateways", {"NatGateways": [{"NatGatewayId": "nat-1", "State": "failed", "FailureMessage": "no address"}]})
    code, said = verified(stub, "egress")
    assert code == 1 and "NAT gateway nat-1 is failed" in said and "no address" in said


@pytest.mark.parametrize("block, wrong", [("off", False), ("block-ingress", False), ("block-bidirectional", True)])
def test_block_public_access_and_a_hub(stub, block, wrong):  # noqa: F811
    running(stub, "egress")
    stub.answer("describe-vpc-block-public-access-options", block)
    stub.answer("describe-vpc-block-public-access-exclusions", {"VpcBlockPublicAccessExclusions": []})
    code, said = verified(stub, "egress")
    assert (code == 1) == wrong == ("nothing of the internet is reached" in said) == ("--internet-gateway-exclusion-mode allow-egress" in said)
    exclusion = {"ResourceArn": "arn:aws:ec2:us-east-1:1:vpc/vpc-1", "InternetGatewayExclusionMode": "allow-egress", "State": "create-complete"}
    stub.answer("describe-vpc-block-public-access-exclusions", {"VpcBlockPublicAccessExclusions": [exclusion]})
    assert verified(stub, "egress")[0] == 0


def test_a_gateway_that_somebody_attached(stub):  # noqa: F811
    running(stub, "isolated")
    stub.answer("describe-nat-gateways", "")
    stub.answer("describe-internet-gateways", "igw-1")
    code, said = verified(stub, "isolated")
    assert code == 1 and "has a way to the internet: igw-1" in said
    # The VPC has a block of IPv6, whose addresses are public.
    stub.answer("describe-internet-gateways", "")
    stub.answer("describe-egress-only-internet-gateways", {"EgressOnlyInternetGateways": [{"EgressOnlyInternetGatewayId": "eigw-1", "Attachments": [{"VpcId": "vpc-1"}]}]})
    code, said = verified(stub, "isolated")
    assert code == 1 and "has a way to the internet: eigw-1" in said
    # Where a route to elsewhere leads cannot be seen from here.
    running(stub, "isolated")
    stub.answer("describe-nat-gateways", "")
    stub.answer("describe-route-tables", {"RouteTables": [{"RouteTableId": "rtb-1", "Routes": [{"DestinationCidrBlock": "192.168.1.0/24", "GatewayId": "local"}, {"DestinationCidrBlock": "10.0.0.0/8", "TransitGatewayId": "tgw-2"}, {"DestinationCidrBlock": "0.0.0.0/0", "TransitGatewayId": "tgw-1", "State": "active"}]}]})
    code, said = verified(stub, "isolated")
    assert code == 0 and "rtb-1 leads 0.0.0.0/0 to tgw-1: whether the internet is behind it cannot be seen" in said and "tgw-2" not in said


@pytest.mark.parametrize("design", ["endpoints", "isolated"])
def test_an_endpoint_that_is_not_there_yet(stub, design):  # noqa: F811
    running(stub, design)
    stub.answer("describe-nat-gateways", "")
    code, said = verified(stub, design)
    assert code == 0 and "endpoints: ecr.api, s3" in said, said
    stub.answer("describe-vpc-endpoints", {"VpcEndpoints": [{"VpcEndpointId": "vpce-1", "ServiceName": "com.amazonaws.us-east-1.s3", "State": "pending"}]})
    code, said = verified(stub, design)
    assert code == 1 and "com.amazonaws.us-east-1.s3 (vpce-1) is pending" in said


@pytest.mark.parametrize("design", ["egress", "endpoints"])
def test_a_list_that_is_gone(stub, design):  # noqa: F811
    """The one that is shipped has names of us-east-1, which are no help elsewhere."""
    running(stub, design)
    stub.error("head-object", "404", "Not Found")
    stub.error("get-object", "NoSuchKey")
    done = stub.run("verify", "--design", design, AWS_REGION="eu-west-1")
    shown = stub.run("publish-policy", "--design", design, "--show", AWS_REGION="eu-west-1")
    assert done.returncode == shown.returncode == 1
    for said in (done.stdout, shown.stderr):
        if design == "egress":
            assert "cfn/publish-policy --stack latticegate-egress conf/start.ipcontrol.yaml" in said
        else:
            assert "cfn/deploy --stack latticegate-endpoints publishes the first one, with the names of eu-west-1" in said and "us-east-1" not in said


def test_networks_that_aws_has_added(stub):  # noqa: F811
    running(stub, "endpoints", {"S3Access": "gateway", "S3Networks": "16.15.176.0/20"})
    stub.answer("get-managed-prefix-list-entries", {"Entries": [{"Cidr": "52.216.0.0/15"}, {"Cidr": "16.15.176.0/20"}]})
    code, said = verified(stub, "endpoints")
    assert code == 1 and "does not dial: 52.216.0.0/15" in said
    running(stub, "endpoints", {"S3Access": "gateway", "S3Networks": "16.15.176.0/20,52.216.0.0/15"})
    code, said = verified(stub, "endpoints")
    assert code == 0 and "all networks of S3 may be dialled" in said


# ---------- call, list, destroy ----------
def test_a_hub_is_called_as_a_proxy(stub):  # noqa: F811
    running(stub, "egress")
    stub.write("curl-says", "HTTP/1.1 200 OK\n\nhello\n192.168.1.100 10.0.0.1")
    done = stub.run("call", "--design", "egress", "https://checkip.amazonaws.com/")
    assert done.returncode == 0, done.stderr
    call = "\n".join(stub.calls())
    assert "curl " in call and "--proxy http://hub.elb.amazonaws.com:3128" in call and "sigv4" not in call and "--connect-to" not in call


def test_what_has_nothing_to_call_and_no_list_says_so(stub):  # noqa: F811
    running(stub, "isolated")
    done = stub.run("call", "--design", "isolated", "https://a.example/")
    assert done.returncode == 1 and "the isolated VPC has no load balancer" in done.stderr
    done = stub.run("publish-policy", "--yes", "--design", "isolated", "list.yaml")
    assert done.returncode == 1 and "the isolated VPC has no access list" in done.stderr
    stub.answer("describe-stacks", stack("latticegate-spoke", outputs={"Design": "spoke", "EndpointId": "vpce-1", "ProxyUrl": "http://vpce-1.example:3128"}), "latticegate-spoke")
    done = stub.run("publish-policy", "--yes", "--design", "spoke", "list.yaml")
    assert done.returncode == 1 and "the hub's decides" in done.stderr and "via: vpce-1" in done.stderr
    # A spoke is called from its VPC, through its endpoint.
    done = stub.run("call", "--design", "spoke", "https://checkip.amazonaws.com/")
    assert "--proxy http://vpce-1.example:3128" in "\n".join(stub.calls())
    stub.write("curl-exits", "28")
    done = stub.run("call", "--design", "spoke", "https://checkip.amazonaws.com/")
    assert done.returncode == 2 and "no connection to http://vpce-1.example:3128" in done.stderr and "PrivateClientCidr1" in done.stderr
    for script in ("call", "publish-policy"):
        done = stub.run(script, "--design", "egress", "https://a.example/", AWS_REGION="eu-west-1")
        assert done.returncode == 1 and "there is no stack latticegate-egress in eu-west-1" in done.stderr, done.stderr


def test_an_endpoint_proxy_is_called_by_the_services_name(stub):  # noqa: F811
    running(stub, "endpoints")
    stub.write("curl-says", "HTTP/1.1 403 Forbidden\n\n\n192.168.1.100 10.0.0.1")
    done = stub.run("call", "--design", "endpoints", "https://reports.s3.us-east-1.amazonaws.com/")
    call = "\n".join(stub.calls())
    assert done.returncode == 0 and "--connect-to reports.s3.us-east-1.amazonaws.com:443:endpoints.elb.amazonaws.com:443" in call and "sigv4" not in call


def test_a_list_is_checked_with_the_configuration_of_its_design(stub, tmp_path):  # noqa: F811
    running(stub, "egress")
    stub.tool("linter", 'echo "linter $*" >>"$STUB/calls"; [ "$1" != --version ] || echo "latticegate 0.1.0"')
    (tmp_path / "list.yaml").write_text("rules:\n  - deny: all\n# another\n")
    done = stub.run("publish-policy", "--yes", "--design", "egress", tmp_path / "list.yaml", GATE_BINARY=str(stub.bin / "linter"))
    assert done.returncode == 0, done.stderr
    assert any(c.startswith("linter check --config ") and c.endswith("/conf/egress.yaml") for c in stub.calls())
    assert any(c.startswith("s3api put-object --bucket lists --key egress-ipcontrol.yaml") for c in stub.calls())
    # And with the ports that this hub has: a rule for one of them is for a port that a listener has.
    running(stub, "egress", {"MoreConnectPorts": "8443,9443"})
    (tmp_path / "ports.yaml").write_text("rules:\n  - { allow: 10.0.0.0/8, to: a.example.com, port: 8443 }\n  - deny: all\n")
    check = lambda: stub.run("publish-policy", "--dry-run", "--design", "egress", tmp_path / "ports.yaml", GATE_BINARY=os.environ["GATE_BINARY"])  # noqa: E731
    done = check()
    assert done.returncode == 0 and "which no listener has" not in done.stderr, done.stderr
    running(stub, "egress")
    assert "is for port 8443, which no listener has" in check().stderr
    # In a container, the copy in the image.
    stub.write("images/" + IMAGE.replace("/", "_").replace(":", "_").replace("@", "_"), "latticegate 0.1.0\n")
    done = stub.run("publish-policy", "--yes", "--design", "egress", tmp_path / "list.yaml", PATH=f"{stub.bin}")
    containers = [c for c in stub.calls() if c.startswith("docker create")]
    assert all("check --config /etc/latticegate/egress.yaml" in c for c in containers if " check" in c)


def test_a_hub_with_consumers_is_not_destroyed(stub):  # noqa: F811
    """AWS would refuse the endpoint service last, when the rest of the fleet is gone."""
    running(stub, "egress")
    stub.answer("describe-vpc-endpoint-connections", {"VpcEndpointConnections": [{"VpcEndpointId": "vpce-1", "VpcEndpointOwner": "111122223333", "VpcEndpointState": "available"}, {"VpcEndpointId": "vpce-2", "VpcEndpointOwner": "1", "VpcEndpointState": "rejected"}]})
    done = stub.run("destroy", "--yes", "--design", "egress")
    assert done.returncode == 1 and "vpce-1 of 111122223333" in done.stderr and "vpce-2" not in done.stderr
    assert f"reject-vpc-endpoint-connections --service-id {SERVICE} --vpc-endpoint-ids vpce-1" in done.stderr
    assert not [c for c in stub.calls() if "delete" in c]
    done = stub.run("destroy", "--dry-run", "--design", "egress")
    assert done.returncode == 1 and "would delete stack latticegate-egress" in done.stderr and "vpce-1 of 111122223333" in done.stderr
    stub.answer("describe-vpc-endpoint-connections", {"VpcEndpointConnections": []})
    stub.answer("delete-stack", "")
    stub.answer("wait-stack-delete-complete", "")
    done = stub.run("destroy", "--yes", "--design", "egress")
    assert done.returncode == 0, done.stderr
    assert "cloudformation delete-stack --stack-name latticegate-egress" in stub.calls()


def test_the_pipeline_packages_the_design_that_runs(stub, tmp_path):  # noqa: F811
    running(stub, "egress")
    done = subprocess.run([modes.CFN / "pipeline/package", "latticegate-egress", IMAGE, "artifacts"], env=stub.env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (package,) = [c for c in stub.calls() if c.startswith("cloudformation package")]
    assert "/egress-hub.yaml " in package
    assert {p["ParameterKey"] for p in json.loads((tmp_path / "parameters.json").read_text())} >= {"NatGateways", "PrivateLinkDnsName"}
