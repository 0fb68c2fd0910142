"""Every form of the endpoint proxy: it dials its endpoints' subnets and nothing else, and their policy names the buckets."""

from __future__ import annotations

import functools

import endpoint_proxy
import pytest
import resolve
from test_modes import attributes, container, environment
from test_security import as_list, rules_of

FORMS = pytest.mark.parametrize("form", endpoint_proxy.ALL, ids=str)


@functools.cache
def fleet_of(form):
    return resolve.resolve(endpoint_proxy.ROOT, form.parameters())


def usual(**more):
    return resolve.resolve(endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(**more))


def endpoints_of(fleet, part):
    return {e.properties["ServiceName"].removeprefix("com.amazonaws.us-east-1."): e.properties for e in fleet.all("AWS::EC2::VPCEndpoint") if e.stack.endswith(part)}


@FORMS
def test_the_endpoints(form):
    fleet = fleet_of(form)
    made = endpoints_of(fleet, "-Endpoints")
    assert set(made) == set(filter(None, form.services.split(","))) | ({"s3"} if form.s3 == "interface" else set())
    subnets = {s.id for s in fleet.all("AWS::EC2::Subnet") if s.name.startswith("EndpointSubnet")}
    for endpoint in made.values():
        assert set(endpoint["SubnetIds"]) == subnets and endpoint["PrivateDnsEnabled"] is True
    # Names of S3 lead to the interface endpoint within the VPC too, and not to the gateway.
    if form.s3 == "interface":
        assert made["s3"]["DnsOptions"] == {"PrivateDnsOnlyForInboundResolverEndpoint": "AllResolvers"}
    # What bucket policies name (aws:SourceVpce).
    (s3,) = [e.id for e in fleet.all("AWS::EC2::VPCEndpoint") if e.properties["ServiceName"].endswith(".s3") and e.stack.endswith("-Endpoints" if form.s3 == "interface" else "-Network")]
    assert fleet.outputs["S3EndpointId"] == s3
    # Those of the tasks themselves stand elsewhere.
    own = endpoints_of(fleet, "-Network")
    assert set(own) == {"ecr.api", "ecr.dkr", "logs", "s3"} and not subnets & {s for e in own.values() for s in e.get("SubnetIds", [])}


@FORMS
def test_the_policy_names_the_buckets(form):
    fleet = fleet_of(form)
    policy = endpoints_of(fleet, "-Endpoints" if form.s3 == "interface" else "-Network")["s3"]["PolicyDocument"]
    reached = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow" and not [a for a in as_list(statement["Action"]) if "*" in a]
        for arn in as_list(statement["Resource"]):
            reached.setdefault(arn, set()).update(as_list(statement["Action"]))
    buckets = endpoint_proxy.BUCKETS.split(",")
    own = {"arn:aws:s3:::foundation-policybucket", "arn:aws:s3:::foundation-policybucket/*", "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*"}
    assert set(reached) == {*buckets, *(f"{b}/*" for b in buckets), *own}
    # Written are the named ones alone.
    assert {arn for arn, actions in reached.items() if "s3:PutObject" in actions} == {f"{b}/*" for b in buckets}


@FORMS
def test_only_the_endpoints_are_dialled(form):
    fleet = fleet_of(form)
    env = environment(fleet)
    allowed = env["LATTICEGATE_UPSTREAM__ALLOWED_NETWORKS"].split(",")
    subnets = [s.properties for s in fleet.all("AWS::EC2::Subnet") if s.name.startswith("EndpointSubnet")]
    own = [s[k] for s in subnets for k in ("CidrBlock", "Ipv6CidrBlock")]
    assert sorted(allowed) == sorted(own + (endpoint_proxy.S3_NETWORKS.split(",") if form.s3 == "gateway" else []))
    balancer = fleet.one("AWS::ElasticLoadBalancingV2::LoadBalancer").properties
    assert balancer["Scheme"] == "internal" and not {s.name for s in fleet.all("AWS::EC2::Subnet") if s.id in balancer["Subnets"] and s.name.startswith("Endpoint")}
    assert container(fleet)["Command"] == ["run", "--config", "/etc/latticegate/vpc-endpoints.yaml"]
    # No way out of any kind.
    for kind in ("AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route", "AWS::EC2::EIP"):
        assert not fleet.all(kind)


@FORMS
def test_security_groups(form):
    fleet = fleet_of(form)
    ports = {int(p) for p in form.listeners.split(",")}
    out = {}
    for group, rule in [*rules_of(fleet, "Egress")]:
        assert rule["Description"] and rule["IpProtocol"] != "-1" and rule.get("CidrIp") not in ("0.0.0.0/0", "::/0")
        if group.name == "TaskSecurityGroup":
            target = rule.get("CidrIp") or rule.get("DestinationPrefixListId") or fleet.by_id(rule["DestinationSecurityGroupId"]).name
            out.setdefault(target, set()).add(rule["FromPort"])
    s3 = {443} | (ports if form.s3 == "gateway" else set())
    assert out == {"169.254.169.253/32": {53}, "pl-63a5400a": s3, "AwsEndpointSecurityGroup": {443}, "EndpointSecurityGroup": ports}
    for group, rule in rules_of(fleet, "Ingress"):
        assert rule["Description"] and rule.get("CidrIp") not in ("0.0.0.0/0", "::/0")
        if group.name == "EndpointSecurityGroup":
            assert fleet.by_id(rule["SourceSecurityGroupId"]).name == "TaskSecurityGroup" and rule["FromPort"] in ports
        if group.name == "ResolverSecurityGroup":
            assert (rule["CidrIp"], rule["FromPort"], rule["ToPort"]) == ("10.0.0.0/8", 53, 53)
    for group in fleet.all("AWS::EC2::SecurityGroup"):
        assert group.properties["SecurityGroupEgress"], group.name


@FORMS
def test_listeners_and_resolver(form):
    fleet = fleet_of(form)
    assert [str(r.properties["Port"]) for r in fleet.all("AWS::ElasticLoadBalancingV2::Listener")] == form.listeners.split(",")
    for group in fleet.all("AWS::ElasticLoadBalancingV2::TargetGroup"):
        assert attributes(group, "TargetGroupAttributes")["proxy_protocol_v2.enabled"] == "true"
    resolvers = fleet.all("AWS::Route53Resolver::ResolverEndpoint")
    assert len(resolvers) == (form.resolver == "on") == ("ResolverEndpointId" in fleet.outputs)
    for resolver in resolvers:
        # AWS wants two, in two zones where there are two.
        subnets = [a["SubnetId"] for a in resolver.properties["IpAddresses"]]
        assert len(subnets) == 2 and len(set(subnets)) == min(2, form.zones)
        assert {fleet.by_id(s).name[:-1] for s in subnets} == {"PrivateSubnet"}


@pytest.mark.parametrize("given, error, text", [
    ({"S3Access": "gateway"}, resolve.RuleFailed, "cfn/networks prints"),
    ({"AvailabilityZone2": ""}, resolve.RuleFailed, "fill them in order"),
    ({"BucketArns": ""}, resolve.TemplateError, "arn:aws:s3:::BUCKET"),
    ({"BucketArns": "reports"}, resolve.TemplateError, "arn:aws:s3:::BUCKET"),
    ({"BucketArns": "arn:aws:s3:::*"}, resolve.TemplateError, "arn:aws:s3:::BUCKET"),
    ({"Services": "a,b,c,d,e,f,g"}, resolve.TemplateError, "one to six"),
    ({"EndpointVpcCidr": "10.1.0.0/23"}, resolve.TemplateError, "same private range"),
])  # fmt: skip
def test_refusals(given, error, text):
    with pytest.raises(error, match=text):
        usual(**given)
