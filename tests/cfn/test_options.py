"""What single parameters change, and what they may not be."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re

import modes
import pytest
import resolve

BOTH = modes.Mode("BOTH", 3, "new", "ASSOCIATION", "off")


def fleet(**parameters):
    return resolve.resolve(modes.ROOT, BOTH.parameters(**parameters))


def container(stack):
    return stack.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"][0]


# ---------- the incumbent's names and defaults ----------
INCUMBENT = {
    "DeploymentMode": "BOTH",
    "VPCLatticeServiceNetwork": "EMPTY",
    "VpcName": "vpc-lattice-external-connectivity",
    "VpcCidr": "192.168.1.0/24",
}
# Computed from VpcCidr here, and the same where VpcCidr is.
INCUMBENT_SUBNETS = {
    "PublicSubnet1": "192.168.1.0/27",
    "PublicSubnet2": "192.168.1.32/27",
    "PublicSubnet3": "192.168.1.64/27",
    "PrivateSubnet1": "192.168.1.96/27",
    "PrivateSubnet2": "192.168.1.128/27",
    "PrivateSubnet3": "192.168.1.160/27",
}


def subnets(stack):
    return {r.name: r.properties["CidrBlock"] for r in stack.all("AWS::EC2::Subnet")}


def test_the_incumbents_parameters_keep_their_names_and_defaults():
    parameters = resolve.decode(str(modes.ROOT))[0]["Parameters"]
    assert {k: str(parameters[k]["Default"]) for k in INCUMBENT} == INCUMBENT
    assert subnets(fleet()) == INCUMBENT_SUBNETS
    assert subnets(fleet(**{f"{name}Cidr": cidr.replace("192.168.1", "192.168.7") for name, cidr in INCUMBENT_SUBNETS.items()}, VpcCidr="192.168.7.0/24")) == {
        name: cidr.replace("192.168.1", "192.168.7") for name, cidr in INCUMBENT_SUBNETS.items()
    }
    dns = resolve.decode(str(modes.CFN / "example-dns.yaml"))[0]["Parameters"]
    assert {"HostedZoneName", "CustomDomainName", "VPCLatticeDomainName", "NLBExternalDomainName", "NLBInternalDomainName", "VpcId", "PublicHostedZone", "PrivateHostedZone"} <= set(dns)


@pytest.mark.parametrize("name", ["root.yaml", "egress-hub.yaml", "egress-spoke.yaml", "endpoint-proxy.yaml", "isolated.yaml"])
def test_every_parameter_is_described_and_grouped(name):
    template = resolve.decode(str(modes.CFN / name))[0]
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(template["Parameters"])
    assert not [k for k, v in template["Parameters"].items() if not v.get("Description")]
    assert name != "root.yaml" or "use1-az3" in template["Parameters"]["AvailabilityZone1"]["Description"]


# ---------- fleet ----------
@pytest.mark.parametrize("size, cpu, memory", [("2vCPU-4GB", 2048, 4096), ("1vCPU-2GB", 1024, 2048), ("0.5vCPU-1GB", 512, 1024), ("0.25vCPU-0.5GB", 256, 512)])
def test_sizes(size, cpu, memory):
    task = fleet(TaskSize=size).one("AWS::ECS::TaskDefinition").properties
    assert (int(task["Cpu"]), int(task["Memory"])) == (cpu, memory)


@pytest.mark.parametrize("share, ratio", [("25", (3, 1)), ("50", (1, 1)), ("75", (1, 3))])
def test_spot_share(share, ratio):
    strategy = fleet(FargateSpotShare=share, OnDemandBase="2").one("AWS::ECS::Service").properties["CapacityProviderStrategy"]
    on_demand, spot = strategy
    assert (on_demand["CapacityProvider"], on_demand["Base"]) == ("FARGATE", "2")
    assert spot["CapacityProvider"] == "FARGATE_SPOT" and "Base" not in spot
    assert (on_demand["Weight"], spot["Weight"]) == ratio
    assert spot["Weight"] / (on_demand["Weight"] + spot["Weight"]) == int(share) / 100


def test_x86():
    task = fleet(CpuArchitecture="X86_64").one("AWS::ECS::TaskDefinition").properties
    assert task["RuntimePlatform"]["CpuArchitecture"] == "X86_64"


def test_sysctls_can_be_left_out():
    assert "SystemControls" not in container(fleet(WidePorts="false"))


def test_exec_is_an_exception_that_is_paid_for():
    stack = fleet(EnableExec="true")
    assert stack.one("AWS::ECS::Service").properties["EnableExecuteCommand"] == "true"
    assert container(stack)["ReadonlyRootFilesystem"] is False
    services = [r.properties.get("ServiceName", "") for r in stack.all("AWS::EC2::VPCEndpoint")]
    assert "com.amazonaws.us-east-1.ssmmessages" in services
    (policy,) = stack.all("AWS::IAM::RolePolicy")
    assert all(a.startswith("ssmmessages:") for a in policy.properties["PolicyDocument"]["Statement"][0]["Action"])


def test_own_key():
    stack = fleet(KmsKeyArn=modes.KEY)
    assert stack.one("AWS::Logs::LogGroup").properties["KmsKeyId"] == modes.KEY
    assert stack.one("AWS::SNS::Topic").properties["KmsMasterKeyId"] == modes.KEY
    (role,) = [r for r in stack.all("AWS::IAM::Role") if r.name == "TaskRole"]
    statements = role.properties["Policies"][0]["PolicyDocument"]["Statement"]
    assert [s["Resource"] for s in statements if s["Action"] == "kms:Decrypt"] == [modes.KEY]


def test_alarm_email():
    assert fleet(AlarmEmail="ops@example.com").one("AWS::SNS::Topic").properties["Subscription"] == [{"Protocol": "email", "Endpoint": "ops@example.com"}]
    assert "Subscription" not in fleet().one("AWS::SNS::Topic").properties


def test_existing_vpc_with_its_own_way_to_aws():
    mode = modes.Mode("PRIVATE", 3, "existing", "ASSOCIATION", "off")
    stack = resolve.resolve(modes.ROOT, mode.parameters(AwsEndpoints="existing", AwsServicesEgressCidr="10.20.0.0/16"))
    assert not stack.all("AWS::EC2::VPCEndpoint") and not [g for g in stack.all("AWS::EC2::SecurityGroup") if g.name == "AwsEndpointSecurityGroup"]
    (group,) = [r for r in stack.all("AWS::EC2::SecurityGroup") if r.name == "TaskSecurityGroup"]
    assert [e["CidrIp"] for e in group.properties["SecurityGroupEgress"] if e.get("CidrIp", "").startswith("10.")] == ["10.20.0.0/16"]


def aws_endpoints(stack):
    return {r.properties["ServiceName"].removeprefix("com.amazonaws.us-east-1.") for r in stack.all("AWS::EC2::VPCEndpoint") if "ServiceName" in r.properties}


def endpoint_clients(stack):
    (group,) = [g for g in stack.all("AWS::EC2::SecurityGroup") if g.name == "AwsEndpointSecurityGroup"]
    return [r.get("CidrIp") or "tasks" for r in group.properties["SecurityGroupIngress"]]


EXISTING_VPC = modes.Mode("PRIVATE", 3, "existing", "ASSOCIATION", "off")


def existing(**parameters):
    return resolve.resolve(modes.ROOT, EXISTING_VPC.parameters(**parameters))


@pytest.mark.parametrize(
    "choice, egress, made",
    [
        ("create", "", {"ecr.api", "ecr.dkr", "logs", "s3"}),
        ("create:logs,ecr.api", "10.20.0.0/16", {"logs", "ecr.api"}),
        ("create:ecr.api,ecr.dkr,logs", "", {"ecr.api", "ecr.dkr", "logs"}),
        ("create:s3", "0.0.0.0/0", {"s3"}),
        ("create:ecr.api,ecr.dkr,logs,ssmmessages", "", {"ecr.api", "ecr.dkr", "logs", "ssmmessages"}),
        ("existing", "0.0.0.0/0", set()),
    ],
)
def test_each_endpoint_of_an_existing_vpc_is_a_choice(choice, egress, made):
    stack = existing(AwsEndpoints=choice, AwsServicesEgressCidr=egress)
    assert aws_endpoints(stack) == made
    to_endpoints = [r for r in stack.all("AWS::EC2::SecurityGroupEgress") if r.name == "TaskToAwsEndpoints"]
    assert bool(to_endpoints) == bool(made - {"s3"})


def test_endpoints_of_an_existing_vpc_admit_all_of_it():
    # Private DNS applies to every workload of the VPC: without access to them it would lose ECR and CloudWatch Logs.
    assert endpoint_clients(existing()) == ["tasks", "10.20.0.0/16", "10.21.0.0/20"]
    five = ",".join(f"10.2{i}.0.0/16" for i in range(5))
    assert endpoint_clients(existing(ExistingVpcCidrs=five)) == ["tasks", *five.split(",")]
    assert endpoint_clients(fleet()) == ["tasks"]


def test_endpoints_that_latticegate_does_not_need():
    assert aws_endpoints(fleet(MoreAwsEndpoints="ssm")) == {"ecr.api", "ecr.dkr", "logs", "s3", "ssm"}
    assert aws_endpoints(fleet(MoreAwsEndpoints="secretsmanager,ssmmessages")) == {"ecr.api", "ecr.dkr", "logs", "s3", "ssmmessages", "secretsmanager"}
    # ECS Exec brings its own; an existing VPC that has its way to AWS gets none unless named.
    assert "ssmmessages" in aws_endpoints(fleet(EnableExec="true"))
    given = {"AwsEndpoints": "existing", "AwsServicesEgressCidr": "0.0.0.0/0"}
    assert aws_endpoints(existing(EnableExec="true", **given)) == set()
    # A VPC that has the endpoint already leaves it out by a list, and says where it is.
    listed = {"AwsEndpoints": "create:ecr.api,ecr.dkr,logs", "EnableExec": "true"}
    assert aws_endpoints(existing(**listed, AwsServicesEgressCidr="10.20.0.0/16")) == {"ecr.api", "ecr.dkr", "logs"}
    assert aws_endpoints(existing(**listed, MoreAwsEndpoints="ssmmessages")) == {"ecr.api", "ecr.dkr", "logs", "ssmmessages"}
    with pytest.raises(resolve.TemplateError, match="with EnableExec, ssmmessages"):
        existing(**listed)
    stack = existing(MoreAwsEndpoints="ssm,secretsmanager", **given)
    assert aws_endpoints(stack) == {"ssm", "secretsmanager"} and endpoint_clients(stack) == ["tasks", "10.20.0.0/16", "10.21.0.0/20"]


# ---------- addresses ----------
@pytest.mark.parametrize("cidr", ["10.20.0.0/16", "172.20.8.0/22", "192.168.9.0/24", "100.70.0.0/24"])
def test_subnets_follow_the_vpcs_block(cidr):
    stack = resolve.resolve(modes.ROOT, ENDPOINTS.parameters(VpcCidr=cidr))
    block = ipaddress.ip_network(cidr)
    made = {name: ipaddress.ip_network(c) for name, c in subnets(stack).items()}
    assert len(made) == 9 and not any(a.overlaps(b) for a, b in itertools.combinations(made.values(), 2))
    assert all(c.subnet_of(block) and c.prefixlen == 27 for name, c in made.items() if "Endpoint" not in name)
    # Whose PROXY header is trusted, and what is dialled, follow as well.
    environment = {e["Name"]: e["Value"] for e in container(stack)["Environment"]}
    balancers = [str(c) for name, c in made.items() if "Endpoint" not in name]
    assert sorted(environment["LATTICEGATE_PROXY_PROTOCOL__TRUSTED"].split(",")) == sorted(balancers)
    assert [n for n in environment["LATTICEGATE_UPSTREAM__ALLOWED_NETWORKS"].split(",") if ":" not in n] == [str(made[f"EndpointSubnet{i}"]) for i in (1, 2, 3)]


def test_a_block_that_does_not_hold_its_subnets():
    with pytest.raises(resolve.TemplateError, match="does not hold"):
        fleet(VpcCidr="10.0.0.0/25")
    named = {f"{k}Subnet{i}Cidr": f"10.0.0.{16 * n}/28" for n, (k, i) in enumerate((k, i) for k in ("Public", "Private") for i in (1, 2, 3))}
    assert len(subnets(fleet(VpcCidr="10.0.0.0/25", **named))) == 6


@pytest.mark.parametrize("vpc, second, fits", [("10.0.0.0/16", "100.64.8.0/23", True), ("10.0.0.0/16", "10.1.0.0/23", True), ("10.0.0.0/16", "192.168.2.0/23", False), ("172.16.0.0/16", "10.0.0.0/23", False), ("192.168.1.0/24", "192.168.2.0/23", True)])
def test_a_second_block_that_aws_refuses_is_refused_first(vpc, second, fits):
    given = ENDPOINTS.parameters(VpcCidr=vpc, EndpointVpcCidr=second)
    if fits:
        assert second in [r.properties.get("CidrBlock") for r in resolve.resolve(modes.ROOT, given).all("AWS::EC2::VPCCidrBlock")]
        return
    with pytest.raises(resolve.TemplateError, match="same private range"):
        resolve.resolve(modes.ROOT, given)
    # Where no second block is made, its parameter does not matter.
    assert fleet(VpcCidr=vpc, EndpointVpcCidr=second)


# ---------- names ----------
def test_names_to_resolve_instead():
    names = "{ orders.example.com: vpce-0123-snsa-0456.7d67968.vpc-lattice-svcs.us-east-1.on.aws, api.example.com: b.example.net }"
    (value,) = [e["Value"] for e in container(fleet(UpstreamNames=names))["Environment"] if e["Name"] == "LATTICEGATE_UPSTREAM__NAMES"]
    assert value == names
    assert not [e for e in container(fleet())["Environment"] if e["Name"] == "LATTICEGATE_UPSTREAM__NAMES"]


# ---------- roles ----------
def test_a_permissions_boundary_for_every_role():
    boundary = f"arn:aws:iam::{modes.ACCOUNT}:policy/boundary"
    roles = fleet(PermissionsBoundaryArn=boundary).all("AWS::IAM::Role")
    assert len(roles) == 2 and all(r.properties["PermissionsBoundary"] == boundary for r in roles)
    assert not [r for r in fleet().all("AWS::IAM::Role") if "PermissionsBoundary" in r.properties]
    (role,) = resolve.resolve(modes.CFN / "example.yaml", {"PermissionsBoundaryArn": boundary}).all("AWS::IAM::Role")
    assert role.properties["PermissionsBoundary"] == boundary


def test_ipv4_only():
    stack = fleet(IpAddressType="ipv4")
    for balancer in stack.all("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        assert balancer.properties["IpAddressType"] == "ipv4"
    assert "::/0" not in json.dumps([r.properties for r in stack.all("AWS::EC2::SecurityGroup")])


# ---------- refusals ----------
EXISTING_GIVEN = {"ExistingVpcId": "vpc-1", "ExistingPrivateSubnetIds": "subnet-1", "ExistingPrivateSubnetCidrs": "10.0.0.0/24"}


@pytest.mark.parametrize("choice", ["create:s3", "create:ecr.api,logs", "create:logs,s3,ecr.dkr"])
def test_endpoints_left_out_need_another_way(choice):
    with pytest.raises(resolve.TemplateError, match="AwsServicesEgressCidr must say"):
        existing(AwsEndpoints=choice)


@pytest.mark.parametrize(
    "parameters, text",
    [
        ({"AvailabilityZone1": ""}, "set 1-3 zones"),
        ({"AvailabilityZone2": ""}, "fill them in order"),
        ({"ExistingVpcId": "vpc-1"}, "ExistingPrivateSubnetIds"),
        (EXISTING_GIVEN, "set AwsEndpoints too"),
        (EXISTING_GIVEN | {"AwsEndpoints": "create"}, "set ExistingVpcCidrs"),
        (EXISTING_GIVEN | {"AwsEndpoints": "create:logs", "AwsServicesEgressCidr": "0.0.0.0/0"}, "set ExistingVpcCidrs"),
        (EXISTING_GIVEN | {"AwsEndpoints": "existing", "AwsServicesEgressCidr": "0.0.0.0/0", "MoreAwsEndpoints": "ssm"}, "set ExistingVpcCidrs"),
        (EXISTING_GIVEN | {"AwsEndpoints": "existing"}, "set AwsServicesEgressCidr"),
        (EXISTING_GIVEN | {"AwsEndpoints": "create", "ExistingVpcCidrs": "10.0.0.0/16"}, "ExistingPublicSubnetIds"),
        ({"AwsEndpoints": "existing", "AwsServicesEgressCidr": "0.0.0.0/0"}, "no other way"),
        ({"AwsEndpoints": "create:logs"}, "no other way"),
        ({"LatticeAccess": "ENDPOINTS", "VPCLatticeServiceNetwork": "EMPTY"}, "cannot be EMPTY"),
        ({"VPCLatticeServiceNetwork2": "sn-0123456789abcdef1"}, "use LatticeAccess ENDPOINTS"),
        ({"LatticePrefixListId": ""}, "describe-managed-prefix-lists"),
        ({"PrivateLink": "on", "DeploymentMode": "PUBLIC"}, "use PRIVATE or BOTH"),
        ({"PublicAllocationIds": "eipalloc-01", "DeploymentMode": "PRIVATE"}, "which PRIVATE does not have"),
        ({"PrivateAddresses": "10.0.0.9", "DeploymentMode": "PUBLIC"}, "which PUBLIC does not have"),
    ],
)
def test_rules_say_what_to_do(parameters, text):
    with pytest.raises(resolve.RuleFailed, match=text):
        fleet(**parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"Image": "111122223333.dkr.ecr.us-east-1.amazonaws.com/latticegate:latest"},
        {"DeploymentMode": "SOME"},
        {"VpcCidr": "192.168.1.0/33"},
        {"DeregistrationDelay": "60"},
        {"ConnectionsTarget": "60000"},
        {"AwsEndpoints": "create:nothing"},
        {"MoreAwsEndpoints": "ec2"},
        {"UpstreamNames": "orders.example.com"},
        {"UpstreamNames": "{ orders.example.com }"},
        {"EndpointSubnet1Cidr": "192.168.2.0/27"},
        {"Nonsense": "1"},
    ],
)
def test_wrong_parameters_are_refused(parameters):
    with pytest.raises(resolve.TemplateError):
        fleet(**parameters)


# ---------- foundation ----------
@pytest.mark.parametrize("key", ["", modes.KEY])
def test_foundation(key):
    stack = resolve.resolve(modes.CFN / "foundation.yaml", {"KmsKeyArn": key}, "latticegate-foundation")
    repository = stack.one("AWS::ECR::Repository")
    assert repository.properties["ImageTagMutability"] == "IMMUTABLE"
    assert repository.properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    buckets = stack.all("AWS::S3::Bucket")
    assert len(buckets) == 2
    for kept in [repository, *buckets]:
        assert (kept.body["DeletionPolicy"], kept.body["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    for bucket in buckets:
        p = bucket.properties
        assert p["VersioningConfiguration"] == {"Status": "Enabled"}
        assert set(p["PublicAccessBlockConfiguration"].values()) == {True}
        (rule,) = p["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        wanted = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
        assert rule["ServerSideEncryptionByDefault"] == wanted
        (policy,) = [p for p in stack.all("AWS::S3::BucketPolicy") if p.properties["Bucket"] == bucket.id]
        (statement,) = policy.properties["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


# ---------- example ----------
@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("auth", ["AWS_IAM", "NONE"])
@pytest.mark.parametrize("network", ["", "sn-0123456789abcdef0"])
def test_example(custom, auth, network):
    given = {"AuthType": auth, "ServiceNetwork": network}
    if custom:
        given |= {"CustomDomainName": "orders.example.com", "CertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/1"}
    stack = resolve.resolve(modes.CFN / "example.yaml", given)
    listeners = {r.properties["Port"]: r.properties["Protocol"] for r in stack.all("AWS::VpcLattice::Listener")}
    assert listeners == {443: "HTTPS", 80: "HTTP"}
    (group,) = stack.all("AWS::VpcLattice::TargetGroup")
    assert group.properties["Targets"] == [{"Id": f"arn:aws:lambda:us-east-1:111122223333:function:{stack.one('AWS::Lambda::Function').id}"}]
    assert bool(stack.all("AWS::VpcLattice::AuthPolicy")) == (auth == "AWS_IAM")
    assert bool(stack.all("AWS::VpcLattice::ServiceNetwork")) == (network == "")
    assert stack.outputs["ServiceName"] == ("orders.example.com" if custom else stack.outputs["GeneratedName"])


def test_example_needs_a_certificate_for_its_name():
    with pytest.raises(resolve.RuleFailed, match="needs CertificateArn"):
        resolve.resolve(modes.CFN / "example.yaml", {"CustomDomainName": "orders.example.com"})


def test_the_examples_function_answers():
    code = resolve.decode(str(modes.CFN / "example.yaml"))[0]["Resources"]["Function"]["Properties"]["Code"]["ZipFile"]
    scope: dict = {}
    import os
    from unittest import mock

    exec(code, scope)
    with mock.patch.dict(os.environ, {"AWS_REGION": "us-east-1"}):
        answer = scope["handler"]({"method": "GET", "path": "/x", "headers": {"host": ["orders.example.com"]}}, None)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"region": "us-east-1", "method": "GET", "path": "/x", "host": "orders.example.com"}


def test_example_dns():
    given = {
        "CustomDomainName": "orders.example.com",
        "VPCLatticeDomainName": "svc-1.7d67968.vpc-lattice-svcs.us-east-1.on.aws",
        "VpcId": "vpc-1",
        "HostedZoneName": "example.com",
        "PublicHostedZone": "Z0PUBLIC",
        "PrivateHostedZone": "Z0PRIVATE",
        "NLBExternalDomainName": "ext.elb.us-east-1.amazonaws.com",
        "NLBExternalHostedZoneId": "Z26RNL4JYFTOTI",
        "NLBInternalDomainName": "int.elb.us-east-1.amazonaws.com",
        "NLBInternalHostedZoneId": "Z26RNL4JYFTOTI",
    }
    stack = resolve.resolve(modes.CFN / "example-dns.yaml", given)
    records = {(r.properties["HostedZoneId"], r.properties["Type"]): r.properties for r in stack.all("AWS::Route53::RecordSet")}
    assert set(records) == {("Z0PUBLIC", "A"), ("Z0PUBLIC", "AAAA"), ("Z0PRIVATE", "A"), (stack.one("AWS::Route53::HostedZone").id, "CNAME")}
    assert stack.one("AWS::Route53::HostedZone").properties["VPCs"] == [{"VPCId": "vpc-1", "VPCRegion": "us-east-1"}]
    lean = {k: v for k, v in given.items() if not k.startswith("NLB")} | {"PublicHostedZone": "EMPTY", "PrivateHostedZone": "EMPTY"}
    assert len(resolve.resolve(modes.CFN / "example-dns.yaml", lean).all("AWS::Route53::RecordSet")) == 1
    # The narrow zone, which hides no other name; its top takes an alias only.
    with pytest.raises(resolve.RuleFailed, match="cannot be a CNAME"):
        resolve.resolve(modes.CFN / "example-dns.yaml", lean | {"HostedZoneName": "orders.example.com"})
    narrow = resolve.resolve(modes.CFN / "example-dns.yaml", lean | {"HostedZoneName": "orders.example.com", "VPCLatticeHostedZoneId": "Z0LATTICE"})
    zone = narrow.one("AWS::Route53::HostedZone").id
    target = {"DNSName": given["VPCLatticeDomainName"], "HostedZoneId": "Z0LATTICE"}
    assert [(r.properties["HostedZoneId"], r.properties["Type"], r.properties["AliasTarget"]) for r in narrow.all("AWS::Route53::RecordSet")] == [(zone, "A", target), (zone, "AAAA", target)]
    with pytest.raises(resolve.RuleFailed, match="NLBExternalDomainName"):
        resolve.resolve(modes.CFN / "example-dns.yaml", lean | {"PublicHostedZone": "Z0PUBLIC"})


# ---------- together ----------
TOGETHER = [
    [{}, {"Listeners": "443"}],
    [{}, {"IpAddressType": "ipv4"}, {"PrivateClientIpv6Cidr": "fd00::/8"}],
    [{}, {"UpstreamNames": "{ a.example.com: b.example.net }", "PermissionsBoundaryArn": f"arn:aws:iam::{modes.ACCOUNT}:policy/boundary", "KmsKeyArn": modes.KEY}],
    [{}, {"EnableExec": "true", "MoreAwsEndpoints": "ssm,secretsmanager", "FargateSpotShare": "25", "DeploymentAlarm": "off", "WidePorts": "false"}],
    [{}, {"addresses": "yes"}],
    [{}, {"AwsEndpoints": "existing", "AwsServicesEgressCidr": "0.0.0.0/0"}, {"AwsEndpoints": "create:logs,s3", "AwsServicesEgressCidr": "10.20.0.0/16"}],
]


@pytest.mark.parametrize("mode", modes.OFFERED, ids=str)
def test_every_combination_resolves(mode):
    """Where a choice leaves something out, nothing else may refer to it, whatever else was chosen."""
    seen = 0
    for choice in itertools.product(*TOGETHER):
        given = dict(pair for part in choice for pair in part.items())
        if mode.vpc == "new" and "AwsEndpoints" in given:
            continue
        given |= {f"AvailabilityZone{i}": zone for i, zone in enumerate(modes.ZONES[: mode.zones], 1)}
        if given.pop("addresses", None):
            if mode.public:
                given["PublicAllocationIds"] = ",".join(f"eipalloc-0{i}" for i in range(mode.zones))
            if mode.private:
                given["PrivateAddresses"] = ",".join(f"192.168.1.10{i}" for i in range(mode.zones))
        stack = resolve.resolve(modes.ROOT, mode.parameters(**given))
        listeners = [r.properties["Port"] for r in stack.all("AWS::ElasticLoadBalancingV2::Listener")]
        targets = stack.one("AWS::ECS::Service").properties["LoadBalancers"]
        assert len(listeners) == len(targets) == (mode.public + mode.private) * len(given.get("Listeners", "443,80").split(","))
        seen += 1
    assert seen == 2 * 3 * 2 * 2 * 2 * (3 if mode.vpc == "existing" else 1)


# ---------- no parameter is dead ----------
ENDPOINTS = modes.Mode("BOTH", 3, "new", "ENDPOINTS", "off")
EXISTING = modes.Mode("BOTH", 3, "existing", "ENDPOINTS", "off")
LINK = modes.Mode("BOTH", 3, "new", "ASSOCIATION", "on")
OTHER_NETWORK = "sn-00000000000000009"
OTHER = {
    BOTH: {
        "DeploymentMode": "PUBLIC", "VPCLatticeServiceNetwork": OTHER_NETWORK, "LatticeAccess": "ENDPOINTS",
        "Image": modes.IMAGE.replace("ab", "cd"), "ImageRepositoryArn": f"arn:aws:ecr:us-east-1:{modes.ACCOUNT}:repository/other", "CpuArchitecture": "X86_64",
        "PolicyBucket": "other", "PolicyKey": "edge/ipcontrol.yaml", "KmsKeyArn": modes.KEY, "PermissionsBoundaryArn": f"arn:aws:iam::{modes.ACCOUNT}:policy/boundary",
        "UpstreamNames": "{a.example.com: b.example.com}", "MoreAwsEndpoints": "ssm",
        "AvailabilityZone1": "us-east-1f", "AvailabilityZone2": "us-east-1f", "AvailabilityZone3": "",
        "VpcName": "other", "VpcCidr": "192.168.0.0/16", "PublicSubnet1Cidr": "192.168.1.192/27", "PublicSubnet2Cidr": "192.168.1.192/27",
        "PublicSubnet3Cidr": "192.168.1.192/27", "PrivateSubnet1Cidr": "192.168.1.192/27", "PrivateSubnet2Cidr": "192.168.1.192/27", "PrivateSubnet3Cidr": "192.168.1.192/27",
        "PublicClientCidr1": "203.0.113.0/24", "PublicClientCidr2": "203.0.113.0/24", "PublicClientCidr3": "203.0.113.0/24", "PublicClientIpv6Cidr": "2001:db8::/32", "PublicClientPrefixListId": "pl-0123",
        "PrivateClientCidr1": "10.1.0.0/16", "PrivateClientCidr2": "10.1.0.0/16", "PrivateClientCidr3": "10.1.0.0/16", "PrivateClientIpv6Cidr": "fd00::/8", "PrivateClientPrefixListId": "pl-0123",
        "IpAddressType": "ipv4", "DeregistrationDelay": "600", "DeletionProtection": "true",
        "LatticePrefixListId": "pl-0123", "LatticeIpv6PrefixListId": "", "S3PrefixListId": "pl-0123",
        "TaskSize": "1vCPU-2GB", "MinTasks": "2", "MaxTasks": "30", "CpuTarget": "50", "ConnectionsTarget": "10000", "FargateSpotShare": "50", "OnDemandBase": "1", "WidePorts": "false", "EnableExec": "true",
        "LogRetentionDays": "90", "LogFormat": "nginx", "LogKeep": "sample 1/100", "LogFields": "time,name", "AlarmEmail": "ops@example.com", "RefusedPerMinuteAlarm": "100", "RefusedShareAlarm": "20", "ContainerInsights": "enabled", "DeploymentAlarm": "off",
        "Listeners": "443", "PublicAllocationIds": "eipalloc-01,eipalloc-02,eipalloc-03", "PrivateAddresses": "192.168.1.100,192.168.1.140,192.168.1.170", "PrivateLink": "on", "EnforcePrivateLinkSecurityGroup": "off",
    },
    ENDPOINTS: {
        "VPCLatticeServiceNetwork2": OTHER_NETWORK, "VPCLatticeServiceNetwork3": OTHER_NETWORK, "EndpointVpcCidr": "100.64.8.0/23",
        "EndpointSubnet1Cidr": "192.168.2.192/26", "EndpointSubnet2Cidr": "192.168.2.192/26", "EndpointSubnet3Cidr": "192.168.2.192/26",
    },
    EXISTING: {
        "ExistingVpcId": "vpc-00000000000000009", "ExistingPublicSubnetIds": "subnet-9", "ExistingPublicSubnetCidrs": "10.9.0.0/24", "ExistingPrivateSubnetIds": "subnet-9",
        "ExistingPrivateSubnetCidrs": "10.9.0.0/24", "ExistingPrivateRouteTableIds": "", "ExistingEndpointSubnetIds": "subnet-9", "ExistingEndpointSubnetCidrs": "10.9.0.0/24",
        "AwsEndpoints": "create:ecr.api,ecr.dkr,logs", "AwsServicesEgressCidr": "10.9.0.0/16", "ExistingVpcCidrs": "10.9.0.0/16",
    },
    LINK: {"PrivateLinkPrincipals": "arn:aws:iam::111122223333:root", "PrivateLinkAcceptanceRequired": "false", "PrivateLinkDnsName": "other.example.com"},
}  # fmt: skip


@pytest.mark.parametrize("mode, name", [(mode, name) for mode, names in OTHER.items() for name in names], ids=str)
def test_every_parameter_changes_something(mode, name):
    # What only travels down as a parameter would not count: the children's resources are compared.
    def resources(**more):
        stack = resolve.resolve(modes.ROOT, mode.parameters(**more))
        return [(s.name, r.name, r.properties) for s in stack.walk() for r in s.resources.values() if r.type != "AWS::CloudFormation::Stack"]

    more = {}
    assert resources(**more) != resources(**more, **{name: OTHER[mode][name]})


def test_that_is_every_parameter():
    named = [name for names in OTHER.values() for name in names]
    assert sorted(named) == sorted(resolve.decode(str(modes.ROOT))[0]["Parameters"])


# ---------- values that a reader of the issue would look for ----------
@pytest.mark.parametrize("seconds", ["120", "300", "600"])
def test_deregistration_delay(seconds):
    for group in fleet(DeregistrationDelay=seconds).all("AWS::ElasticLoadBalancingV2::TargetGroup"):
        assert {"Key": "deregistration_delay.timeout_seconds", "Value": seconds} in group.properties["TargetGroupAttributes"]


def test_kms_is_a_choice():
    stack = fleet()
    assert "KmsKeyId" not in stack.one("AWS::Logs::LogGroup").properties
    assert "KmsMasterKeyId" not in stack.one("AWS::SNS::Topic").properties
    assert "kms:" not in json.dumps([r.properties for r in stack.all("AWS::IAM::Role")])


def test_privatelink_judged_by_the_security_group_or_not():
    for value in ("on", "off"):
        for balancer in fleet(EnforcePrivateLinkSecurityGroup=value).all("AWS::ElasticLoadBalancingV2::LoadBalancer"):
            assert balancer.properties["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] == value


def test_what_each_alarm_watches():
    stack = fleet()
    watched = {
        (a.name, *(d["Value"] for d in a.properties["Dimensions"] if d["Name"] == "AvailabilityZone")): (a.properties["Namespace"], a.properties["MetricName"], a.properties["Statistic"], a.properties["ComparisonOperator"], float(a.properties["Threshold"]), a.properties["TreatMissingData"])
        for a in stack.all("AWS::CloudWatch::Alarm")
        if "MetricName" in a.properties
    }
    more, less = "GreaterThanThreshold", "LessThanThreshold"
    assert watched == {
        # No task reports at all: no healthy target either, so a missing value is the alarm.
        ("NoHealthyTarget",): ("AWS/NetworkELB", "HealthyHostCount", "Maximum", less, 1.0, "breaching"),
        # A zone without a task: nothing is reported of it, or zero.
        ("ZoneWithoutTarget1", "us-east-1a"): ("AWS/NetworkELB", "HealthyHostCount", "Maximum", less, 1.0, "breaching"),
        ("ZoneWithoutTarget2", "us-east-1b"): ("AWS/NetworkELB", "HealthyHostCount", "Maximum", less, 1.0, "breaching"),
        ("ZoneWithoutTarget3", "us-east-1d"): ("AWS/NetworkELB", "HealthyHostCount", "Maximum", less, 1.0, "breaching"),
        # The limit that no scaling looks at: about 55 000 new connections a minute towards one task.
        ("PortAllocationErrors",): ("AWS/NetworkELB", "PortAllocationErrorCount", "Sum", more, 0.0, "notBreaching"),
        # Whether anybody reports at all; every other alarm takes silence for peace.
        ("SilentAlarm",): ("latticegate", "NewConnections", "SampleCount", less, 1.0, "breaching"),
        ("DnsFailuresAlarm",): ("latticegate", "DnsFailures", "Sum", more, 30.0, "notBreaching"),
        # The busiest task, before the 55 000 of the load balancer.
        ("ConnectionsAlarm",): ("latticegate", "ActiveConnections", "Maximum", more, 45000.0, "notBreaching"),
        ("ListAlarm",): ("latticegate", "ListOutOfStep", "Maximum", more, 0.0, "notBreaching"),
        ("LimitsAlarm",): ("latticegate", "LimitsUsed", "Maximum", more, 80.0, "notBreaching"),
        ("LinesLostAlarm",): ("latticegate", "LinesLost", "Sum", more, 0.0, "notBreaching"),
        ("DeploymentFailedAlarm",): ("AWS/Events", "TriggeredRules", "Sum", "GreaterThanOrEqualToThreshold", 1.0, "notBreaching"),
    }
    (silent,) = [a for a in stack.all("AWS::CloudWatch::Alarm") if a.name == "SilentAlarm"]
    assert silent.body["DependsOn"] == "Service" and silent.properties["EvaluationPeriods"] == 5
    (failed,) = [a for a in stack.all("AWS::CloudWatch::Alarm") if a.name == "FailedAlarm"]
    assert [m["MetricStat"]["Metric"]["MetricName"] for m in failed.properties["Metrics"] if "MetricStat" in m] == ["Failed", "NewConnections"]


def test_tasks_that_start_again_and_again_are_an_alarm_and_a_deployment_is_none():
    restarts = alarm(fleet(MinTasks="2", MaxTasks="6"), "RestartsAlarm")
    (expression,) = [m["Expression"] for m in restarts["Metrics"] if "Expression" in m]
    over = [starts for starts in range(40) if judge(expression, starts=starts) > float(restarts["Threshold"])]
    assert over[0] == 13, "all six once, and as many again while scaling"


def alarm(stack, name):
    (found,) = [a for a in stack.all("AWS::CloudWatch::Alarm") if a.name == name]
    return found.properties


def judge(expression, **sums):
    """CloudWatch's metric math, as far as these alarms use it; a metric that is not given has no value."""
    text = re.sub(r"\[([^]]+)\]", lambda m: "[" + ", ".join(n for n in m[1].split(", ") if n in sums) + "]", expression)
    return eval(text, {"IF": lambda a, b, c: b if a else c, "SUM": sum}, sums)


def test_many_refusals_are_no_alarm_where_there_is_traffic():
    stack = fleet(RefusedShareAlarm="20", RefusedPerMinuteAlarm="100")
    refused = alarm(stack, "RefusedAlarm")
    (expression,) = [m["Expression"] for m in refused["Metrics"] if "Expression" in m]
    assert float(refused["Threshold"]) == 20 and {m["Id"] for m in refused["Metrics"]} == {"share", "refused", "new"}
    # A scan beside real traffic; a mistake in the list; a mistake without traffic.
    assert judge(expression, refused=600, new=180_000) < 1
    assert judge(expression, refused=600, new=1_000) == 60
    assert judge(expression, refused=100, new=100) == 0


REASONS_MD = (modes.CFN.parent / "docs/reasons.md").read_text()


def test_only_what_a_release_can_break_rolls_it_back():
    unreachable = alarm(fleet(), "UnreachableAlarm")
    by_id = {m["Id"]: m for m in unreachable["Metrics"]}
    reasons = {d["Value"]: i for i, m in by_id.items() if "MetricStat" in m for d in m["MetricStat"]["Metric"]["Dimensions"] if d["Name"] == "reason"}
    failures = set(re.findall(r"^\| `failed` \| `(\w+)` ", REASONS_MD, re.M))
    # All but what can be told to depend on one name or one service: those are other people's. A timeout cannot: a security group
    # that a release closes drops packets, and shows as nothing else.
    services = {"upstream_closed", "response_timeout", "response_malformed"}  # on forward listeners
    assert set(reasons) == failures - {"dns_failed", "connect_refused"} - services and len(failures) == 10
    assert {m["MetricStat"]["Metric"]["MetricName"] for i, m in by_id.items() if i in reasons.values()} == {"Failed"}
    # The page names them, and says of no broken service that it does not count where it does.
    doc = (modes.CFN.parent / "docs/deploy.md").read_text()
    (row,) = re.findall(r"^\| `UnreachableAlarm` \| (.*) \|$", doc, re.M)
    assert set(re.findall(r"`(\w+_\w+)`", row)) == set(reasons)
    urgent = doc.split("- **Urgent fix**")[1].split("\n- ")[0]
    assert re.search(r"`dns_failed`.*`connect_refused`\) do not count", urgent, re.S) and re.search(r"`connect_timeout`\), if over 30 %", urgent) and float(unreachable["Threshold"]) == 30
    expression = by_id["share"]["Expression"]
    assert judge(expression, new=1_000, **{reasons["connect_timeout"]: 400}) > float(unreachable["Threshold"])
    assert judge(expression, new=1_000, **{reasons["connect_timeout"]: 100, reasons["dns_timeout"]: 100}) == 20
    # Too little traffic judges nothing, nor do reasons that did not occur.
    assert judge(expression, new=40, **{reasons["no_local_port"]: 40}) == 0
    assert judge(expression, new=1_000) == 0


def test_the_rollback_by_alarm_can_be_switched_off():
    for value, on in (("on", True), ("off", False)):
        alarms = fleet(DeploymentAlarm=value).one("AWS::ECS::Service").properties["DeploymentConfiguration"]["Alarms"]
        assert (alarms["Enable"], alarms["Rollback"], len(alarms["AlarmNames"])) == (on, on, 1)


def test_every_alarm_is_documented():
    table = (modes.CFN.parent / "docs/deploy.md").read_text().split("### Alarms")[1].split("\n## ")[0]
    documented = {name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert documented == {re.sub(r"[23]$", "1", a.name) if a.name.startswith("Zone") else a.name for a in fleet().all("AWS::CloudWatch::Alarm")}


# ---------- scaling ----------
def connections_target(stack):
    (policy,) = [r for r in stack.all("AWS::ApplicationAutoScaling::ScalingPolicy") if r.name == "ScaleOnConnections"]
    return int(policy.properties["TargetTrackingScalingPolicyConfiguration"]["TargetValue"])


@pytest.mark.parametrize("size, memory", [("2vCPU-4GB", 4096), ("1vCPU-2GB", 2048), ("0.5vCPU-1GB", 1024), ("0.25vCPU-0.5GB", 512)])
def test_the_target_of_connections_fits_the_tasks_memory(size, memory):
    stack = fleet(TaskSize=size)
    target = connections_target(stack)
    # 4 KB of the program's and 20 KB of the kernel's for each (docs/deploy.md; test_cost holds the measured figures below them), in
    # half of the memory; with a zone lost its connections go to the other two, which the load balancer's 55 000 must hold.
    assert target * (4 + 20) / 1024 <= memory / 2 and target * 1.5 < 55_000
    assert f'"value": {target}' in stack.one("AWS::CloudWatch::Dashboard").properties["DashboardBody"]
    assert connections_target(fleet(TaskSize=size, ConnectionsTarget="1234")) == 1234


@pytest.mark.parametrize("keep", ["all", "failures", "sample 1/100", "refused", "sample:100"])
def test_the_lines_to_keep_reach_the_task(keep):
    (value,) = [e["Value"] for e in container(fleet(LogKeep=keep))["Environment"] if e["Name"] == "LATTICEGATE_ACCESS_LOG__KEEP"]
    assert value == keep


@pytest.mark.parametrize("keep", ["", "none", "sample", "sample 1/0", "sample 2/3", "sample:0", "sample:1x"])
def test_other_lines_to_keep_are_refused(keep):
    with pytest.raises(resolve.TemplateError, match="LogKeep"):
        fleet(LogKeep=keep)


def test_the_fields_of_a_line_reach_the_task():
    assert not [e for e in container(fleet())["Environment"] if e["Name"] == "LATTICEGATE_ACCESS_LOG__FIELDS"]
    (value,) = [e["Value"] for e in container(fleet(LogFields="time,name"))["Environment"] if e["Name"] == "LATTICEGATE_ACCESS_LOG__FIELDS"]
    assert value == "time,name"
    for wrong in ({"LogFields": "time, name"}, {"LogFields": "time,"}, {"LogFields": "time", "LogFormat": "nginx"}):
        with pytest.raises((resolve.TemplateError, resolve.RuleFailed), match="LogFields"):
            fleet(**wrong)


def test_container_insights_is_a_choice():
    for value in ("disabled", "enabled", "enhanced"):
        assert fleet(ContainerInsights=value).one("AWS::ECS::Cluster").properties["ClusterSettings"] == [{"Name": "containerInsights", "Value": value}]


# ---------- listeners ----------
@pytest.mark.parametrize("mode", [modes.Mode(*m) for m in (("BOTH", 3, "new", "ASSOCIATION", "off"), ("BOTH", 3, "new", "ENDPOINTS", "on"), ("PUBLIC", 1, "existing", "ASSOCIATION", "off"))], ids=str)
def test_443_alone(mode):
    stack = resolve.resolve(modes.ROOT, mode.parameters(Listeners="443", PrivateClientIpv6Cidr="fd00::/8", PublicClientPrefixListId="pl-0123"))
    balancers = stack.all("AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert [r.properties["Port"] for r in stack.all("AWS::ElasticLoadBalancingV2::Listener")] == [443] * len(balancers)
    assert [r.properties["Port"] for r in stack.all("AWS::ElasticLoadBalancingV2::TargetGroup")] == [8443] * len(balancers)
    service = stack.one("AWS::ECS::Service").properties
    assert [b["ContainerPort"] for b in service["LoadBalancers"]] == [8443] * len(balancers)
    assert [p["ContainerPort"] for p in container(stack)["PortMappings"]] == [8443, 9901]
    for kind in ("SecurityGroup", "SecurityGroupIngress", "SecurityGroupEgress"):
        for r in stack.all(f"AWS::EC2::{kind}"):
            for rule in [r.properties, *r.properties.get("SecurityGroupIngress", []), *r.properties.get("SecurityGroupEgress", [])]:
                assert rule.get("FromPort") not in (80, 8080), r.name
    (listeners,) = [e["Value"] for e in container(stack)["Environment"] if e["Name"] == "LATTICEGATE_LISTENERS"]
    assert "8443" in listeners and "8080" not in listeners
    assert not [e for e in container(fleet())["Environment"] if e["Name"] == "LATTICEGATE_LISTENERS"]


# ---------- addresses that partners allow ----------
def mappings(stack, scheme):
    (balancer,) = [b.properties for b in stack.all("AWS::ElasticLoadBalancingV2::LoadBalancer") if b.properties["Scheme"] == scheme]
    return balancer.get("Subnets"), balancer.get("SubnetMappings")


@pytest.mark.parametrize("zones", [1, 2, 3])
@pytest.mark.parametrize("vpc", ["new", "existing"])
def test_fixed_addresses(zones, vpc):
    mode = modes.Mode("BOTH", zones, vpc, "ASSOCIATION", "off")
    elastic, private = [f"eipalloc-0{i}" for i in range(zones)], [f"192.168.1.{100 + 32 * i}" for i in range(zones)]
    names = {f"AvailabilityZone{i}": zone for i, zone in enumerate(modes.ZONES[:zones], 1)}
    stack = resolve.resolve(modes.ROOT, mode.parameters(PublicAllocationIds=",".join(elastic), PrivateAddresses=",".join(private), **names))
    plain = resolve.resolve(modes.ROOT, mode.parameters(**names))
    for scheme, key, addresses in (("internet-facing", "AllocationId", elastic), ("internal", "PrivateIPv4Address", private)):
        subnets, none = mappings(plain, scheme)
        assert len(subnets) == zones and none is None
        assert mappings(stack, scheme) == (None, [{"SubnetId": s, key: a} for s, a in zip(subnets, addresses, strict=True)])


@pytest.mark.parametrize("zones, count", [(1, 2), (2, 1), (2, 3), (3, 1), (3, 2)])
@pytest.mark.parametrize("name, address", [("PublicAllocationIds", "eipalloc-0{}"), ("PrivateAddresses", "192.168.1.10{}")])
def test_an_address_for_each_zone_or_none(zones, count, name, address):
    given = modes.Mode("BOTH", zones, "new", "ASSOCIATION", "off").parameters(**{name: ",".join(address.format(i) for i in range(count))})
    with pytest.raises(resolve.TemplateError, match="one address for each zone"):
        resolve.resolve(modes.ROOT, given)


# ---------- IPv6 ----------
@pytest.mark.parametrize("family, clients, wanted", [("dualstack", "", "ipv4"), ("dualstack", "2001:db8::/32", "dualstack"), ("ipv4", "2001:db8::/32", "ipv4")])
def test_a_load_balancer_has_ipv6_where_a_client_may_use_it(family, clients, wanted):
    stack = resolve.resolve(modes.ROOT, LINK.parameters(IpAddressType=family, PublicClientIpv6Cidr=clients, PrivateClientIpv6Cidr=clients))
    assert {b.properties["IpAddressType"] for b in stack.all("AWS::ElasticLoadBalancingV2::LoadBalancer")} == {wanted}
    # A consumer's endpoint can have IPv6 where the load balancer has.
    service = stack.one("AWS::EC2::VPCEndpointService").properties
    assert service["SupportedIpAddressTypes"] == (["ipv4", "ipv6"] if wanted == "dualstack" else ["ipv4"])


def test_scaling_on_cpu_is_the_services_average():
    (policy,) = [r for r in fleet().all("AWS::ApplicationAutoScaling::ScalingPolicy") if r.name == "ScaleOnCpu"]
    assert policy.properties["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"] == {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}


def test_the_examples_function_is_called_by_lattice_only():
    stack = resolve.resolve(modes.CFN / "example.yaml", {})
    permissions = [r.properties for r in stack.all("AWS::Lambda::Permission")]
    # Not SourceArn: the target group can only be made after the permission.
    assert [(p["Principal"], p["SourceAccount"]) for p in permissions] == [("vpc-lattice.amazonaws.com", resolve.ACCOUNT)]
