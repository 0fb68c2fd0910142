"""Every form of the egress hub, resolved and asserted: the way in is 3128 from the load balancer, the way out NAT, and nothing else."""

from __future__ import annotations

import functools
import ipaddress

import hub
import modes
import pytest
import resolve
from test_modes import attributes, container, environment
from test_security import as_list, documents, rules_of

HUBS = pytest.mark.parametrize("form", hub.OFFERED, ids=str)


@functools.cache
def fleet_of(form):
    return resolve.resolve(hub.ROOT, form.parameters())


def usual(**more):
    return resolve.resolve(hub.ROOT, hub.USUAL.parameters(**more))


def test_the_number_of_forms():
    assert (len(hub.ALL), len(hub.OFFERED)) == (72, 54)


# ---------- network ----------
@HUBS
def test_each_private_subnet_leaves_by_a_nat_gateway(form):
    fleet = fleet_of(form)
    nats = fleet.all("AWS::EC2::NatGateway")
    count = 0 if form.vpc == "existing" else form.zones if form.nat == "in-each-zone" else 1
    assert len(nats) == len(fleet.all("AWS::EC2::EIP")) == count
    routes = {}
    for route in fleet.all("AWS::EC2::Route"):
        routes.setdefault(route.properties["RouteTableId"], []).append(route.properties)
    tables = {fleet.by_id(a.properties["SubnetId"]).name: a.properties["RouteTableId"] for a in fleet.all("AWS::EC2::SubnetRouteTableAssociation")}
    assert len(tables) == (2 * form.zones if form.vpc == "new" else 0)
    for subnet, table in tables.items():
        ways = {r.get("DestinationCidrBlock") or r.get("DestinationIpv6CidrBlock"): r for r in routes[table]}
        if subnet.startswith("Public"):
            assert all("GatewayId" in r for r in ways.values()) and set(ways) == {"0.0.0.0/0", "::/0"}
            continue
        nat = fleet.by_id(ways["0.0.0.0/0"]["NatGatewayId"])
        # Its own zone's, or the only one. Never the internet gateway itself.
        assert nat.properties["SubnetId"] == fleet.by_id(nat.properties["SubnetId"]).id
        assert fleet.by_id(nat.properties["SubnetId"]).name == f"PublicSubnet{subnet[-1] if form.nat == 'in-each-zone' else 1}"
        assert ("::/0" in ways) == (form.ipv6 == "on")
        assert "EgressOnlyInternetGatewayId" in ways.get("::/0", {"EgressOnlyInternetGatewayId": 1})
        assert not any("GatewayId" in r for r in ways.values())
    assert len(fleet.all("AWS::EC2::EgressOnlyInternetGateway")) == (form.ipv6 == "on" and form.vpc == "new")


@HUBS
def test_a_nat_gateway_without_ports_is_said(form):
    fleet = fleet_of(form)
    topic = fleet.one("AWS::SNS::Topic").id
    alarms = [a.properties for a in fleet.all("AWS::CloudWatch::Alarm") if a.properties.get("Namespace") == "AWS/NATGateway"]
    assert {a["Dimensions"][0]["Value"] for a in alarms} == {n.id for n in fleet.all("AWS::EC2::NatGateway")}
    for alarm in alarms:
        assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"], alarm["AlarmActions"]) == ("ErrorPortAllocation", "Sum", 0, [topic])


@HUBS
def test_the_gateway_to_s3_serves_every_bucket(form):
    """The clients' requests to S3 of this region take it too: a policy that names ours would refuse theirs."""
    fleet = fleet_of(form)
    endpoints = fleet.all("AWS::EC2::VPCEndpoint")
    assert [e.properties["VpcEndpointType"] for e in endpoints] == ["Gateway"] * (form.vpc == "new")
    for endpoint in endpoints:
        assert "PolicyDocument" not in endpoint.properties
        private = {a.properties["RouteTableId"] for a in fleet.all("AWS::EC2::SubnetRouteTableAssociation") if "Private" in a.name}
        assert set(endpoint.properties["RouteTableIds"]) == private


# ---------- security groups ----------
@HUBS
def test_only_the_load_balancer_comes_in_and_only_the_web_goes_out(form):
    fleet = fleet_of(form)
    balancer = fleet.one("AWS::ElasticLoadBalancingV2::LoadBalancer")
    (group,) = balancer.properties["SecurityGroups"]
    into, out, clients = set(), set(), set()
    for where, rule in rules_of(fleet, "Ingress"):
        assert rule["Description"] and rule["IpProtocol"] != "-1"
        if where.name == "TaskSecurityGroup":
            into.add((rule["SourceSecurityGroupId"], rule["FromPort"], rule["ToPort"]))
        else:
            assert where.id == group
            clients.add((rule["CidrIp"], rule["IpProtocol"], rule["FromPort"]))
    assert into == {(group, port, port) for port in (3128, 9901)}
    assert clients == {(c, *port) for c in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16") for port in (("tcp", 3128), ("icmp", 3))}
    for where, rule in rules_of(fleet, "Egress"):
        assert rule["Description"] and rule["FromPort"] == rule["ToPort"]
        if where.name == "TaskSecurityGroup":
            out.add((rule.get("CidrIp") or rule.get("CidrIpv6") or rule["DestinationPrefixListId"], rule["IpProtocol"], rule["FromPort"]))
    web = {("0.0.0.0/0", "tcp", port) for port in (443, 80)} | {("::/0", "tcp", port) for port in (443, 80) if form.ipv6 == "on"}
    dns = {("169.254.169.253/32", kind, 53) for kind in ("udp", "tcp")}
    assert out == web | dns | {(hub.ALWAYS["S3PrefixListId"], "tcp", 443)}
    # Nothing has a public address but the NAT gateways.
    assert balancer.properties["Scheme"] == "internal"
    assert fleet.one("AWS::ECS::Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "DISABLED"
    assert not [s.name for s in fleet.all("AWS::EC2::Subnet") if s.properties["MapPublicIpOnLaunch"]]


# ---------- balancer, task ----------
@HUBS
def test_the_listener_is_the_proxys(form):
    fleet = fleet_of(form)
    listener, group = fleet.one("AWS::ElasticLoadBalancingV2::Listener"), fleet.one("AWS::ElasticLoadBalancingV2::TargetGroup")
    assert (listener.properties["Port"], listener.properties["Protocol"], group.properties["Port"]) == (3128, "TCP", 3128)
    a = attributes(group, "TargetGroupAttributes")
    assert (a["proxy_protocol_v2.enabled"], a["preserve_client_ip.enabled"]) == ("true", "false")
    (target,) = fleet.one("AWS::ECS::Service").properties["LoadBalancers"]
    assert (target["ContainerPort"], target["TargetGroupArn"]) == (3128, group.id)
    c = container(fleet)
    assert {p["ContainerPort"] for p in c["PortMappings"]} == {3128, 9901}
    assert c["Command"] == ["run", "--config", "/etc/latticegate/egress.yaml"]
    assert c["HealthCheck"]["Command"] == ["CMD", "/latticegate", "healthcheck", "--config", "/etc/latticegate/egress.yaml"]
    assert c["ReadonlyRootFilesystem"] is True and c["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


@HUBS
def test_the_proxy_trusts_the_load_balancers_subnets_and_never_dials_its_vpc(form):
    fleet = fleet_of(form)
    env = environment(fleet)
    subnets = fleet.one("AWS::ElasticLoadBalancingV2::LoadBalancer").properties["Subnets"]
    ids, cidrs = modes.EXISTING["Private"]
    known = {r.id: r.properties["CidrBlock"] for r in fleet.all("AWS::EC2::Subnet")} | dict(zip(ids, cidrs))
    assert env["LATTICEGATE_PROXY_PROTOCOL__TRUSTED"].split(",") == [known[s] for s in subnets]
    denied = [ipaddress.ip_network(n) for n in env["LATTICEGATE_UPSTREAM__DENIED_NETWORKS"].split(",")]
    # Its addresses of IPv6 are public ones, which `public` would allow.
    made = [s.properties[k] for s in fleet.all("AWS::EC2::Subnet") for k in ("CidrBlock", "Ipv6CidrBlock")]
    for network in made or hub.VPC_NETWORKS.split(","):
        assert any(n.version == d.version and n.subnet_of(d) for d in denied for n in [ipaddress.ip_network(network)]), network
    assert ("LATTICEGATE_DNS__IPV6" in env) == (form.ipv6 == "off")
    assert env["LATTICEGATE_LISTENERS__0__VIA_NAME"] == "latticegate"
    # What the file says, `public`, stays: the environment widens it nowhere.
    assert not [n for n in env if "ALLOWED_NETWORKS" in n or n == "LATTICEGATE_LISTENERS"]
    assert env["LATTICEGATE_POLICY"] == "s3://foundation-policybucket/egress-ipcontrol.yaml"


def test_more_networks_that_are_never_dialled():
    assert environment(usual(DeniedNetworks="198.51.100.0/24,2001:db8::/32"))["LATTICEGATE_UPSTREAM__DENIED_NETWORKS"].endswith("::/56,198.51.100.0/24,2001:db8::/32")


@pytest.mark.parametrize("ipv6", ["off", "on"])
@pytest.mark.parametrize("ports", ["8443", "8443,9443,10443"])
def test_more_ports(ports, ipv6):
    """Those that the listener takes are those that leave."""
    fleet = usual(MoreConnectPorts=ports, Ipv6=ipv6)
    assert environment(fleet)["LATTICEGATE_LISTENERS__0__CONNECT_PORTS"] == f"[443, {ports}]"
    out = {(rule.get("CidrIp") or rule.get("CidrIpv6"), int(rule["FromPort"])) for group, rule in rules_of(fleet, "Egress") if group.name == "TaskSecurityGroup" and rule["FromPort"] == rule["ToPort"]}
    wanted = {443, 80, *map(int, ports.split(","))}
    assert {p for cidr, p in out if cidr == "0.0.0.0/0"} == wanted and {p for cidr, p in out if cidr == "::/0"} == (wanted if ipv6 == "on" else set())
    assert "LATTICEGATE_LISTENERS__0__CONNECT_PORTS" not in environment(usual())


@HUBS
def test_scaling_on_cpu_and_connections(form):
    policies = {r.name for r in fleet_of(form).all("AWS::ApplicationAutoScaling::ScalingPolicy")}
    assert policies == {"ScaleOnCpu", "ScaleOnConnections"}


# ---------- PrivateLink ----------
@HUBS
def test_the_endpoint_service(form):
    fleet = fleet_of(form)
    services = fleet.all("AWS::EC2::VPCEndpointService")
    assert len(services) == (form.privatelink != "off")
    for service in services:
        p = service.properties
        assert p["NetworkLoadBalancerArns"] == [fleet.one("AWS::ElasticLoadBalancingV2::LoadBalancer").id]
        assert (p["AcceptanceRequired"], p["SupportedIpAddressTypes"]) == ("true", ["ipv4"])
        assert p.get("PrivateDnsName") == ("proxy.example.com" if form.privatelink == "named" else None)
        # Nobody may connect until somebody is named.
        assert len(fleet.all("AWS::EC2::VPCEndpointServicePermissions")) == (form.privatelink == "named")
    assert ("EndpointServiceName" in fleet.outputs) == ("EndpointServiceId" in fleet.outputs) == bool(services)
    assert ("EndpointServiceDnsProof" in fleet.outputs) == (form.privatelink == "named")
    # The whole name of the record: AWS says its first label only.
    if form.privatelink == "named":
        name, value = fleet.outputs["EndpointServiceDnsProof"].split(" ")
        assert name.startswith("_") and name.endswith(".proxy.example.com") and value.startswith("vpce:")
    assert ("NatAddresses" in fleet.outputs) == (form.vpc == "new")
    assert fleet.outputs["Design"] == "egress"


@HUBS
def test_the_task_may_read_its_list_and_nothing_else(form):
    for where, document in documents(fleet_of(form)):
        for statement in document["Statement"]:
            if where.split("/")[0] == "TaskRole":
                assert set(as_list(statement["Action"])) <= {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"}
                assert all("foundation-policybucket" in arn for arn in as_list(statement["Resource"]))


# ---------- refusals ----------
@pytest.mark.parametrize(
    "given, text",
    [
        ({"AvailabilityZone1": ""}, "set 1-3 zones"),
        ({"AvailabilityZone2": ""}, "fill them in order"),
        ({"ExistingVpcId": "vpc-1"}, "ExistingPrivateSubnetIds"),
        ({"ExistingVpcId": "vpc-1", "ExistingPrivateSubnetIds": "subnet-1", "ExistingPrivateSubnetCidrs": "10.0.0.0/24"}, "must not dial"),
        ({"PrivateLink": "off"}, "which is not made"),
    ],
)
def test_rules_say_what_to_do(given, text):
    with pytest.raises(resolve.RuleFailed, match=text):
        usual(**given)


@pytest.mark.parametrize("given", [{"PrivateLinkDnsName": "*.example.com"}, {"DeniedNetworks": "10.0.0.0"}, {"MoreConnectPorts": "80 81"}, {"MoreConnectPorts": "1,2,3,4"}, {"LogFormat": "nginx"}, {"NatGateways": "two"}, {"PrivateAddresses": "192.168.1.100"}])
def test_wrong_parameters_are_refused(given):
    with pytest.raises(resolve.TemplateError):
        usual(**given)
