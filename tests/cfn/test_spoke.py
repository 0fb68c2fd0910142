"""The spoke of an egress hub: its template in every form, and what cfn/deploy looks up and refuses for it."""

from __future__ import annotations

import itertools

import modes
import pytest
import resolve
from stub import stack, stub  # noqa: F401
from test_security import as_list, rules_of

ROOT = modes.CFN / "egress-spoke.yaml"
SERVICE = "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0"
ALWAYS = {"EndpointServiceName": SERVICE, "VpcId": "vpc-0fedcba9876543210", "SubnetIds": "subnet-0a010000000000000,subnet-0a020000000000000", "ClientCidr1": "10.20.0.0/16", "VpcCidrs": "10.20.0.0/16,10.22.0.0/16"}
FORMS = [
    dict(pair for part in choice for pair in part.items())
    for choice in itertools.product(
        [{}, {"PrivateDns": "on", "PrivateDnsName": "proxy.example.com"}],
        [{}, {"ClientCidr2": "10.21.0.0/16", "ClientCidr3": "100.64.0.0/16"}, {"ClientSecurityGroupId": "sg-0123456789abcdef0"}],
        [{}, {"TestInstance": "on"}, {"TestInstance": "on", "SsmEndpoints": "existing"}],
        [{}, {"PermissionsBoundaryArn": f"arn:aws:iam::{modes.ACCOUNT}:policy/boundary"}],
    )
]


def spoke(**more):
    return resolve.resolve(ROOT, ALWAYS | more, "latticegate-spoke")


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form(form):
    made = spoke(**form)
    endpoints = {e.properties["ServiceName"]: e.properties for e in made.all("AWS::EC2::VPCEndpoint")}
    proxy = endpoints.pop(SERVICE)
    assert proxy["SubnetIds"] == ["subnet-0a010000000000000", "subnet-0a020000000000000"] and proxy["PrivateDnsEnabled"] is ("PrivateDns" in form)
    ssm = form.get("TestInstance") == "on" and "SsmEndpoints" not in form
    assert set(endpoints) == ({"com.amazonaws.us-east-1.ssm", "com.amazonaws.us-east-1.ssmmessages"} if ssm else set())
    clients = {r.get("CidrIp") or r["SourceSecurityGroupId"] for g, r in rules_of(made, "Ingress") if g.name == "EndpointSecurityGroup"}
    assert clients == {ALWAYS["ClientCidr1"], *(form[k] for k in ("ClientCidr2", "ClientCidr3", "ClientSecurityGroupId") if k in form)}
    for group, rule in [*rules_of(made, "Ingress"), *rules_of(made, "Egress")]:
        assert rule["Description"] and rule["IpProtocol"] == "tcp" and rule["FromPort"] == rule["ToPort"]
        assert rule["FromPort"] == (3128 if group.name == "EndpointSecurityGroup" else rule["FromPort"]) in (3128, 443)
    for group in made.all("AWS::EC2::SecurityGroup"):
        assert group.properties["SecurityGroupEgress"], group.name
    # Endpoints of Systems Manager answer for all of the VPC, whoever may use the proxy.
    assert {r.get("CidrIp") or made.by_id(r["SourceSecurityGroupId"]).name for g, r in rules_of(made, "Ingress") if g.name == "SsmSecurityGroup"} == ({"10.20.0.0/16", "10.22.0.0/16", "TestSecurityGroup"} if ssm else set())
    name = "proxy.example.com" if "PrivateDns" in form else proxy_name(made)
    assert made.outputs["ProxyUrl"] == f"http://{name}:3128" and made.outputs["Design"] == "spoke"
    assert made.outputs["EndpointId"].startswith("vpce-")
    instances = made.all("AWS::EC2::Instance")
    assert len(instances) == len(made.all("AWS::IAM::Role")) == (form.get("TestInstance") == "on")
    for role in made.all("AWS::IAM::Role"):
        assert role.properties.get("PermissionsBoundary") == form.get("PermissionsBoundaryArn")


def proxy_name(made):
    (endpoint,) = [e for e in made.all("AWS::EC2::VPCEndpoint") if e.name == "ProxyEndpoint"]
    return resolve._Evaluator.fill(resolve.ATTRIBUTE["AWS::EC2::VPCEndpoint", "DnsEntries"], endpoint)[0].split(":")[1]


def test_the_test_instance_has_no_way_in_and_asks_the_proxy():
    made = spoke(TestInstance="on")
    p = made.one("AWS::EC2::Instance").properties
    (interface,) = p["NetworkInterfaces"]
    assert interface["AssociatePublicIpAddress"] is False and "KeyName" not in p
    group = made.by_id(interface["GroupSet"][0])
    assert "SecurityGroupIngress" not in group.properties and not [r for g, r in rules_of(made, "Ingress") if g is group]
    assert p["MetadataOptions"]["HttpTokens"] == "required" and p["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    script = p["UserData"]
    assert f"https_proxy=http://{proxy_name(made)}:3128" in script
    (none,) = [line for line in script.splitlines() if "no_proxy=" in line]
    assert {"169.254.169.254", "169.254.170.2", "localhost", ".us-east-1.amazonaws.com"} <= set(none.split("=")[1].split(","))
    # The least for Session Manager, and no managed policy.
    (role,) = made.all("AWS::IAM::Role")
    assert "ManagedPolicyArns" not in role.properties
    actions = {a for policy in role.properties["Policies"] for s in policy["PolicyDocument"]["Statement"] for a in as_list(s["Action"])}
    assert {a.split(":")[0] for a in actions} == {"ssm", "ssmmessages"} and len(actions) == 5


@pytest.mark.parametrize("given", [{"EndpointServiceName": "vpce-svc-0123"}, {"SubnetIds": "subnet-1, subnet-2"}, {"ClientCidr1": ""}, {"PrivateDnsName": "*.example.com"}, {"TestInstanceImage": "ami-0123"}])
def test_wrong_parameters_are_refused(given):
    with pytest.raises(resolve.TemplateError):
        spoke(**given)


def test_endpoints_that_would_answer_for_a_vpc_and_admit_nobody():
    with pytest.raises(resolve.RuleFailed, match="answer for the whole VPC: set VpcCidrs"):
        spoke(TestInstance="on", VpcCidrs="")
    assert spoke(TestInstance="on", VpcCidrs="", SsmEndpoints="existing") and spoke(VpcCidrs="")


def test_a_name_without_its_name():
    with pytest.raises(resolve.RuleFailed, match="set PrivateDnsName"):
        spoke(PrivateDns="on")


# ---------- cfn/deploy --design spoke ----------
@pytest.fixture
def consumer(stub):  # noqa: F811
    """The account of a spoke: a VPC, the hub's service, nothing deployed."""
    stub.answer("describe-vpc-endpoint-services", {"ServiceDetails": [{"AvailabilityZones": ["us-east-1a", "us-east-1b"], "AvailabilityZoneIds": ["use1-az1", "use1-az2"], "AcceptanceRequired": True}]})
    stub.answer("describe-vpcs", {"Vpcs": [{"CidrBlockAssociationSet": [{"CidrBlock": c, "CidrBlockState": {"State": "associated"}} for c in ("10.20.0.0/16", "10.21.0.0/20")]}]})
    stub.answer("describe-subnets", {"Subnets": [subnet(1, "a", 10), subnet(2, "a", 200), subnet(3, "b", 5), subnet(4, "c", 200)]})
    stub.answer("describe-vpc-endpoints", "pendingAcceptance")
    return stub


def subnet(number, zone, free=100, vpc="vpc-1"):
    return {"SubnetId": f"subnet-{number}", "AvailabilityZone": f"us-east-1{zone}", "AvailableIpAddressCount": free, "VpcId": vpc}


GIVEN = ["--design", "spoke", f"EndpointServiceName={SERVICE}", "VpcId=vpc-1"]


def becomes(consumer, status="CREATE_COMPLETE", **parameters):
    """The stack is there once it has been deployed."""
    outputs = {"Design": "spoke", "EndpointId": "vpce-1", "ProxyUrl": "http://vpce-1.example:3128"}
    consumer.write("later", stack("latticegate-spoke", status, outputs, ALWAYS | {"VpcId": "vpc-1", "EndpointServiceName": SERVICE} | parameters))
    consumer.tool("aws", consumer.bin.joinpath("aws").read_text().replace("case $operation in\n    package)", 'case $operation in\n    deploy) cp "$STUB/later" "$STUB/answers/describe-stacks.latticegate-spoke" ;;\n    package)'))
    consumer.bin.joinpath("cp").symlink_to("/bin/cp")


def there(consumer, **parameters):
    outputs = {"Design": "spoke", "EndpointId": "vpce-1", "ProxyUrl": "http://vpce-1.example:3128"}
    consumer.answer("describe-stacks", stack("latticegate-spoke", outputs=outputs, parameters=ALWAYS | {"VpcId": "vpc-1", "EndpointServiceName": SERVICE, "SubnetIds": "subnet-1,subnet-3"} | parameters), "latticegate-spoke")
    consumer.answer("describe-subnets", {"Subnets": [subnet(1, "a"), subnet(3, "b")]})


def refused(consumer, *arguments):
    done = consumer.run("deploy", "--yes", *GIVEN, *arguments)
    assert done.returncode == 1 and not [c for c in consumer.calls() if " deploy " in c or "create" in c], done.stderr
    return done.stderr


def test_a_spoke_finds_its_subnets_and_clients_and_says_who_accepts_it(consumer):
    becomes(consumer)
    done = consumer.run("deploy", "--yes", *GIVEN)
    assert done.returncode == 0, done.stderr
    (call,) = [c for c in consumer.calls() if c.startswith("cloudformation deploy ")]
    assert "--stack-name latticegate-spoke " in call and "egress-spoke.yaml" in call
    # One for each zone of the hub, where most addresses are free.
    assert "SubnetIds=subnet-2,subnet-3" in call and "ClientCidr1=10.20.0.0/16 ClientCidr2=10.21.0.0/20" in call
    assert "accept-vpc-endpoint-connections --service-id vpce-svc-0123456789abcdef0 --vpc-endpoint-ids vpce-1" in done.stderr
    assert "curl -x http://vpce-1.example:3128" in done.stderr and "via: vpce-1" in done.stderr
    # No image, no foundation, no list.
    assert not [c for c in consumer.calls() if c.startswith(("docker", "ecr", "s3api"))]


def test_a_dry_run_changes_nothing(consumer):
    done = consumer.run("deploy", "--dry-run", *GIVEN)
    assert done.returncode == 0 and "SubnetIds=subnet-2,subnet-3" in done.stderr and "nothing was changed" in done.stderr
    assert not [c for c in consumer.calls() if " deploy " in c]


def test_what_aws_would_refuse_late(consumer):
    assert "subnet-4 is in us-east-1c, where the hub is not" in refused(consumer, "SubnetIds=subnet-4")
    consumer.answer("describe-subnets", {"Subnets": [subnet(4, "c")]})
    said = refused(consumer)
    assert "no subnet in the zones of the hub" in said and "use1-az1, use1-az2" in said
    consumer.answer("describe-subnets", {"Subnets": [subnet(1, "a"), subnet(2, "a")]})
    assert "subnet-1 and subnet-2 are in one zone" in refused(consumer, "SubnetIds=subnet-1,subnet-2")
    consumer.answer("describe-subnets", {"Subnets": [subnet(1, "a", vpc="vpc-2")]})
    assert "subnet-1 is in vpc-2" in refused(consumer, "SubnetIds=subnet-1")
    done = consumer.run("deploy", "--yes", *GIVEN, AWS_REGION="eu-west-1")
    assert "another region than eu-west-1" in done.stderr and "AWS_REGION=us-east-1" in done.stderr
    consumer.error("describe-vpc-endpoint-services", "InvalidServiceName", f"The Vpc Endpoint Service '{SERVICE}' does not exist")
    said = refused(consumer)
    assert "PrivateLinkPrincipals=arn:aws:iam::123456789012:root" in said and "it does not exist, or its hub does not admit this account" in said


def test_a_stack_is_the_spoke_of_one_vpc_and_one_hub(consumer):
    """A second VPC under the same name would take the first one's way out."""
    there(consumer)
    said = refused(consumer, "VpcId=vpc-2")
    assert "latticegate-spoke is a spoke already, with VpcId=vpc-1" in said and "--stack latticegate-spoke-2" in said
    other = SERVICE.replace("svc-0", "svc-1")
    assert f"with EndpointServiceName={SERVICE}" in refused(consumer, f"EndpointServiceName={other}")


def test_fewer_clients_than_the_vpc_has(consumer):
    """Nobody else may use the proxy; everybody still reaches Systems Manager, whose names lead to the endpoints made here."""
    consumer.answer("describe-vpc-endpoints", {"VpcEndpoints": []})
    consumer.answer("describe-vpc-attribute", {"EnableDnsSupport": {"Value": True}, "EnableDnsHostnames": {"Value": True}})
    done = consumer.run("deploy", "--dry-run", *GIVEN, "TestInstance=on", "ClientCidr1=10.20.1.0/24")
    assert done.returncode == 0, done.stderr
    assert "ClientCidr1=10.20.1.0/24 " in done.stderr and "ClientCidr2" not in done.stderr and "VpcCidrs=10.20.0.0/16,10.21.0.0/20" in done.stderr
    six = ["10.20.0.0/16", *(f"10.{n}.0.0/16" for n in range(21, 26))]
    consumer.answer("describe-vpcs", {"Vpcs": [{"CidrBlockAssociationSet": [{"CidrBlock": c, "CidrBlockState": {"State": "associated"}} for c in six]}]})
    said = refused(consumer, "TestInstance=on")
    assert "vpc-1 has 6 networks, and VpcCidrs takes five" in said and "SsmEndpoints=existing" in said
    # Nor is that a hindrance without a test instance.
    assert consumer.run("deploy", "--dry-run", *GIVEN).returncode == 0


def test_networks_that_the_vpc_got_since(consumer):
    there(consumer)
    done = consumer.run("deploy", "--dry-run", *GIVEN)
    assert done.returncode == 0 and "vpc-1 has networks that may not use the proxy: 10.21.0.0/20" in done.stderr and "ClientCidr2" in done.stderr
    # Not where this command says who may.
    assert "may not use the proxy" not in consumer.run("deploy", "--dry-run", *GIVEN, "ClientCidr1=10.20.0.0/17").stderr
    there(consumer, ClientCidr2="10.21.0.0/16")
    assert "may not use the proxy" not in consumer.run("deploy", "--dry-run", *GIVEN).stderr


def test_what_is_not_for_a_spoke(consumer):
    assert "--zones is for a new VPC" in refused(consumer, "--zones", "2")
    assert "are not for a spoke" in refused(consumer, "--plan")
    consumer.error("describe-vpcs", "InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist")
    said = refused(consumer)
    assert "'vpc-1' does not exist" in said and "account (123456789012) and region (us-east-1)" in said


def test_clients_that_the_hub_does_not_admit_by_itself(consumer):
    consumer.answer("describe-vpcs", {"Vpcs": [{"CidrBlockAssociationSet": [{"CidrBlock": c, "CidrBlockState": {"State": "associated"}} for c in ("10.20.0.0/16", "100.64.0.0/16")]}]})
    done = consumer.run("deploy", "--dry-run", *GIVEN)
    assert "clients of 100.64.0.0/16: the hub admits" in done.stderr and "PrivateClientCidr1" in done.stderr
    consumer.answer("describe-vpcs", {"Vpcs": [{"CidrBlockAssociationSet": [{"CidrBlock": "172.31.0.0/16", "CidrBlockState": {"State": "associated"}}]}]})
    assert "the hub admits" not in consumer.run("deploy", "--dry-run", *GIVEN).stderr


def test_private_dns_needs_a_proof_and_an_acceptance(consumer):
    named = {"AvailabilityZones": ["us-east-1a", "us-east-1b"], "AcceptanceRequired": True, "PrivateDnsName": "proxy.example.com"}
    assert "the hub has no name" in refused(consumer, "PrivateDns=on")
    consumer.answer("describe-vpc-endpoint-services", {"ServiceDetails": [named | {"PrivateDnsNameVerificationState": "pendingVerification"}]})
    assert "AWS has not verified proxy.example.com (pendingVerification)" in refused(consumer, "PrivateDns=on")
    consumer.answer("describe-vpc-endpoint-services", {"ServiceDetails": [named | {"PrivateDnsNameVerificationState": "verified"}]})
    assert "first without PrivateDns" in refused(consumer, "PrivateDns=on")
    there(consumer)
    assert "has not accepted vpce-1" in refused(consumer, "PrivateDns=on")
    consumer.answer("describe-vpc-endpoints", "available")
    consumer.answer("describe-vpc-attribute", {"EnableDnsSupport": {"Value": False}})
    assert "modify-vpc-attribute --vpc-id vpc-1 --enable-dns-support" in refused(consumer, "PrivateDns=on")
    consumer.answer("describe-vpc-attribute", {"VpcId": "vpc-1", "EnableDnsHostnames": {"Value": True}})
    done = consumer.run("deploy", "--yes", *GIVEN, "PrivateDns=on")
    assert done.returncode == 0, done.stderr
    (call,) = [c for c in consumer.calls() if c.startswith("cloudformation deploy ")]
    assert "PrivateDns=on" in call and "PrivateDnsName=proxy.example.com" in call and "SubnetIds" not in call


def test_second_endpoints_of_systems_manager(consumer):
    becomes(consumer, TestInstance="on")
    consumer.answer("describe-vpc-endpoints", {"VpcEndpoints": [{"ServiceName": "com.amazonaws.us-east-1.ssm", "PrivateDnsEnabled": True}]})
    assert "SsmEndpoints=existing" in refused(consumer, "TestInstance=on")
    # Their private DNS needs host names, which a VPC has only if somebody switched them on.
    consumer.answer("describe-vpc-endpoints", {"VpcEndpoints": []})
    consumer.answer("describe-vpc-attribute", {"VpcId": "vpc-1", "EnableDnsHostnames": {"Value": False}})
    said = refused(consumer, "TestInstance=on")
    assert "TestInstance=on with SsmEndpoints=create, but vpc-1 has no" in said and "modify-vpc-attribute --vpc-id vpc-1 --enable-dns-" in said
    consumer.answer("describe-vpc-attribute", {"VpcId": "vpc-1", "EnableDnsHostnames": {"Value": True}})
    assert consumer.run("deploy", "--dry-run", *GIVEN, "TestInstance=on").returncode == 0


def test_verify_of_a_spoke(consumer):
    there(consumer)
    consumer.answer("describe-stack-resources", {"StackResources": []})
    done = consumer.run("verify", "--design", "spoke")
    assert done.returncode == 1 and "waits to be accepted" in done.stdout and "--service-id vpce-svc-0123456789abcdef0 --vpc-endpoint-ids vpce-1" in done.stdout
    consumer.answer("describe-vpc-endpoints", "available")
    done = consumer.run("verify", "--design", "spoke")
    assert done.returncode == 0 and "endpoint vpce-1 is available" in done.stdout and "all is well" in done.stdout


def test_a_spoke_that_cannot_be_deleted(consumer):
    """What keeps it is in a VPC that is known."""
    there(consumer)
    consumer.answer("delete-stack", "")
    consumer.error("wait-stack-delete-complete", "WaiterError", "terminal failure state")
    consumer.answer("describe-stacks", stack("latticegate-spoke", "DELETE_FAILED", {"Design": "spoke", "EndpointId": "vpce-1"}, {"VpcId": "vpc-1"}), "latticegate-spoke")
    done = consumer.run("destroy", "--yes", "--design", "spoke")
    assert done.returncode == 1 and "Name=vpc-id,Values=vpc-1;" in done.stderr, done.stderr
