"""Every mode of the root template, resolved and asserted property by property.

A reference to a resource that the mode leaves out never gets here: the evaluator refuses it.
"""

from __future__ import annotations

import ipaddress
import json

import modes
import pytest
import resolve


def attributes(resource, key):
    return {a["Key"]: a["Value"] for a in resource.properties[key]}


def container(fleet):
    (only,) = fleet.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    return only


def environment(fleet):
    return {e["Name"]: e["Value"] for e in container(fleet)["Environment"]}


def subnet_cidrs(fleet, ids):
    """IPv4 CIDRs of subnets, made by the stack or existing."""
    known = {r.id: r.properties["CidrBlock"] for r in fleet.all("AWS::EC2::Subnet")}
    for existing_ids, cidrs in modes.EXISTING.values():
        known |= dict(zip(existing_ids, cidrs))
    return [known[i] for i in ids]


def test_the_number_of_modes():
    assert len(modes.ALL) == 72
    assert len(modes.OFFERED) == 60


@pytest.mark.parametrize("mode", [m for m in modes.ALL if m.refused], ids=str)
def test_a_mode_that_cannot_be_is_refused_with_help(mode):
    with pytest.raises(resolve.RuleFailed, match="use PRIVATE or BOTH"):
        resolve.resolve(modes.ROOT, mode.parameters())


# ---------- network ----------
def test_subnets_of_a_new_vpc(mode, fleet):
    subnets = {r.name: r.properties for r in fleet.all("AWS::EC2::Subnet")}
    wanted = set()
    if mode.vpc == "new":
        kinds = ["Private"] + ["Public"] * mode.public + ["Endpoint"] * mode.endpoints
        wanted = {f"{kind}Subnet{i}" for kind in kinds for i in range(1, mode.zones + 1)}
    assert set(subnets) == wanted
    for name, p in subnets.items():
        assert p["AvailabilityZone"] == modes.ZONES[int(name[-1]) - 1]
        assert p["MapPublicIpOnLaunch"] is False
    v4 = [ipaddress.ip_network(p["CidrBlock"]) for p in subnets.values()]
    v6 = [ipaddress.ip_network(p["Ipv6CidrBlock"]) for p in subnets.values()]
    for blocks in (v4, v6):
        assert not any(a.overlaps(b) for i, a in enumerate(blocks) for b in blocks[:i])
    vpc_blocks = [ipaddress.ip_network(c) for c in ("192.168.1.0/24", "100.64.0.0/23")]
    assert all(any(s.subnet_of(v) for v in vpc_blocks) for s in v4)
    # Three endpoints, three aligned /28 that hold none of the five addresses AWS reserves, room for the interfaces beside them.
    for name, p in subnets.items():
        if "Endpoint" in name:
            assert len(free_blocks(p["CidrBlock"])) >= 3 + 1


def free_blocks(cidr):
    """The aligned /28 blocks of a subnet without the five addresses that AWS reserves in it."""
    subnet = ipaddress.ip_network(cidr)
    reserved = [subnet[0], subnet[1], subnet[2], subnet[3], subnet[-1]]
    return [b for b in subnet.subnets(new_prefix=28) if not any(a in b for a in reserved)]


def test_a_26_holds_two_endpoints_and_not_three():
    # Why the template makes /25, and its descriptions say so.
    assert [len(free_blocks(c)) for c in ("10.0.0.0/27", "10.0.0.0/26", "10.0.0.0/25")] == [0, 2, 6]


def test_the_second_vpc_block_exists_for_lattice_endpoints_only(mode, fleet):
    blocks = [r.properties.get("CidrBlock") for r in fleet.all("AWS::EC2::VPCCidrBlock")]
    new = mode.vpc == "new"
    assert blocks == ([None] if new else []) + (["100.64.0.0/23"] if new and mode.endpoints else [])


def test_only_public_subnets_have_a_way_to_the_internet(mode, fleet):
    routes = fleet.all("AWS::EC2::Route")
    public = mode.vpc == "new" and mode.public
    assert len(routes) == (2 if public else 0)
    assert len(fleet.all("AWS::EC2::InternetGateway")) == (1 if public else 0)
    assert not fleet.all("AWS::EC2::NatGateway")
    for association in fleet.all("AWS::EC2::SubnetRouteTableAssociation"):
        table = fleet.by_id(association.properties["RouteTableId"]).name
        subnet = fleet.by_id(association.properties["SubnetId"]).name
        assert table == ("PublicRouteTable" if subnet.startswith("Public") else "PrivateRouteTable")


def test_only_needed_aws_endpoints(mode, fleet):
    made = {r.properties["ServiceName"].split("us-east-1.")[1]: r for r in fleet.all("AWS::EC2::VPCEndpoint") if "ServiceName" in r.properties}
    assert set(made) == {"ecr.api", "ecr.dkr", "logs", "s3"}
    tasks = fleet.one("AWS::ECS::Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"]
    for name, endpoint in made.items():
        if name == "s3":
            assert endpoint.properties["VpcEndpointType"] == "Gateway"
        else:
            assert endpoint.properties["VpcEndpointType"] == "Interface"
            assert endpoint.properties["SubnetIds"] == tasks
            assert endpoint.properties["PrivateDnsEnabled"] is True
    assert ("PolicyDocument" in made["s3"].properties) == (mode.vpc == "new")


# ---------- lattice ----------
def test_lattice_access(mode, fleet):
    associations = fleet.all("AWS::VpcLattice::ServiceNetworkVpcAssociation")
    endpoints = [r for r in fleet.all("AWS::EC2::VPCEndpoint") if r.properties["VpcEndpointType"] == "ServiceNetwork"]
    allowed = environment(fleet)["LATTICEGATE_UPSTREAM__ALLOWED_NETWORKS"].split(",")
    if not mode.endpoints:
        assert (len(associations), len(endpoints)) == (1, 0)
        assert associations[0].properties["ServiceNetworkIdentifier"] == "sn-0123456789abcdef0"
        assert allowed == ["169.254.171.0/24", "fd00:ec2:80::/64"]
        return
    assert (len(associations), len(endpoints)) == (0, 1)
    (endpoint,) = endpoints
    # In a VPC that others use too, private DNS would lead their names of resource configurations to an endpoint that admits
    # the tasks alone.
    assert endpoint.properties["PrivateDnsEnabled"] == ("true" if mode.vpc == "new" else "false")
    assert endpoint.properties["ServiceNetworkArn"].endswith(":servicenetwork/sn-0123456789abcdef0")
    subnets = endpoint.properties["SubnetIds"]
    assert len(subnets) == mode.zones
    # Subnets of their own: nothing but Lattice's endpoints is inside what the guard admits.
    others = set(fleet.one("AWS::ECS::Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]["Subnets"])
    for balancer in fleet.all("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        others |= set(balancer.properties["Subnets"])
    assert not others & set(subnets)
    assert [n for n in allowed if ":" not in n] == subnet_cidrs(fleet, subnets)
    if mode.vpc == "new":
        v6 = [fleet.by_id(s).properties["Ipv6CidrBlock"] for s in subnets]
        assert [n for n in allowed if ":" in n] == v6


def test_several_service_networks_by_endpoints():
    arn = "arn:aws:vpc-lattice:us-east-1:444455556666:servicenetwork/sn-0000000000000000b"
    mode = modes.Mode("BOTH", 3, "new", "ENDPOINTS", "off")
    fleet = resolve.resolve(modes.ROOT, mode.parameters(VPCLatticeServiceNetwork2="sn-0000000000000000a", VPCLatticeServiceNetwork3=arn))
    arns = [r.properties["ServiceNetworkArn"] for r in fleet.all("AWS::EC2::VPCEndpoint") if "ServiceNetworkArn" in r.properties]
    assert [a.rsplit("/")[-1] for a in arns] == ["sn-0123456789abcdef0", "sn-0000000000000000a", "sn-0000000000000000b"]
    assert arns[2] == arn
    # verify and names ask for each of them.
    ids = [r.id for r in fleet.all("AWS::EC2::VPCEndpoint") if "ServiceNetworkArn" in r.properties]
    assert [fleet.outputs[f"ServiceNetworkEndpointId{n}"] for n in ("", "2", "3")] == ids


def test_outputs_of_endpoints_that_are_not_made(mode, fleet):
    assert "ServiceNetworkEndpointId2" not in fleet.outputs and "ServiceNetworkEndpointId3" not in fleet.outputs


def test_an_empty_service_network_makes_no_association():
    mode = modes.Mode("BOTH", 3, "new", "ASSOCIATION", "off")
    fleet = resolve.resolve(modes.ROOT, mode.parameters(VPCLatticeServiceNetwork="EMPTY"))
    assert not fleet.all("AWS::VpcLattice::ServiceNetworkVpcAssociation")
    assert "VpcAssociationId" not in fleet.outputs


# ---------- load balancers ----------
def test_load_balancers(mode, fleet):
    balancers = {r.properties["Scheme"]: r for r in fleet.all("AWS::ElasticLoadBalancingV2::LoadBalancer")}
    assert set(balancers) == {"PUBLIC": {"internet-facing"}, "PRIVATE": {"internal"}}.get(mode.deployment, {"internet-facing", "internal"})
    for scheme, balancer in balancers.items():
        p = balancer.properties
        assert p["Type"] == "network"
        # No AAAA record where the security group admits no IPv6 client.
        assert p["IpAddressType"] == {"internet-facing": "dualstack", "internal": "ipv4"}[scheme]
        assert len(p["Subnets"]) == mode.zones and "SubnetMappings" not in p
        assert len(p["SecurityGroups"]) == 1
        assert p["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] == "on"
        assert attributes(balancer, "LoadBalancerAttributes")["load_balancing.cross_zone.enabled"] == "false"
        if mode.vpc == "new":
            kind = "Public" if scheme == "internet-facing" else "Private"
            assert {fleet.by_id(s).name for s in p["Subnets"]} == {f"{kind}Subnet{i}" for i in range(1, mode.zones + 1)}


def test_target_groups(mode, fleet):
    groups = fleet.all("AWS::ElasticLoadBalancingV2::TargetGroup")
    assert len(groups) == 2 * (mode.public + mode.private) <= 5
    for group in groups:
        p = group.properties
        assert (p["Protocol"], p["TargetType"], p["IpAddressType"]) == ("TCP", "ip", "ipv4")
        assert (p["HealthCheckProtocol"], p["HealthCheckPort"], p["HealthCheckPath"]) == ("HTTP", "9901", "/readyz")
        assert p["Matcher"] == {"HttpCode": "200"}
        a = attributes(group, "TargetGroupAttributes")
        assert a["proxy_protocol_v2.enabled"] == "true"
        assert a["preserve_client_ip.enabled"] == "false"
        assert a["target_health_state.unhealthy.connection_termination.enabled"] == "false"
        assert a["deregistration_delay.connection_termination.enabled"] == "false"
        assert 120 <= int(a["deregistration_delay.timeout_seconds"]) <= 600


def test_listeners(mode, fleet):
    listeners = fleet.all("AWS::ElasticLoadBalancingV2::Listener")
    assert len(listeners) == 2 * (mode.public + mode.private)
    for listener in listeners:
        p = listener.properties
        assert p["Protocol"] == "TCP"
        (action,) = p["DefaultActions"]
        target = fleet.by_id(action["TargetGroupArn"])
        assert target.properties["Port"] == {443: 8443, 80: 8080}[p["Port"]]
        assert fleet.by_id(p["LoadBalancerArn"]).stack == target.stack == listener.stack
        # Above Lattice's 600 s and the proxy's own 610 s.
        assert attributes(listener, "ListenerAttributes")["tcp.idle_timeout.seconds"] == "660"


def test_trusted_networks_are_the_load_balancers_subnets(mode, fleet):
    trusted = environment(fleet)["LATTICEGATE_PROXY_PROTOCOL__TRUSTED"].split(",")
    wanted = []
    for balancer in fleet.all("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        wanted += subnet_cidrs(fleet, balancer.properties["Subnets"])
    assert sorted(trusted) == sorted(wanted)
    assert trusted and "" not in trusted


# ---------- task and service ----------
def test_task(fleet):
    task = fleet.one("AWS::ECS::TaskDefinition").properties
    assert (task["Cpu"], task["Memory"], task["NetworkMode"]) == ("512", "1024", "awsvpc")
    assert task["RuntimePlatform"] == {"CpuArchitecture": "ARM64", "OperatingSystemFamily": "LINUX"}
    c = container(fleet)
    assert c["Image"] == modes.IMAGE and "@sha256:" in c["Image"]
    assert c["ReadonlyRootFilesystem"] is True
    assert c["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert c["User"] == "65532:65532"
    assert c["StopTimeout"] == 120
    assert c["Ulimits"] == [{"Name": "nofile", "SoftLimit": 1048576, "HardLimit": 1048576}]
    assert {p["ContainerPort"] for p in c["PortMappings"]} == {8443, 8080, 9901}
    assert c["HealthCheck"]["Command"] == ["CMD", "/latticegate", "healthcheck", "--config", "/etc/latticegate/latticegate.yaml"]
    assert {s["Namespace"]: s["Value"] for s in c["SystemControls"]} == {
        "net.ipv4.ip_local_port_range": "10240 65535",
        "net.ipv4.tcp_tw_reuse": "1",
    }
    # Ports of ours must not be taken as source ports.
    assert all(int(p["ContainerPort"]) < 10240 for p in c["PortMappings"])
    options = c["LogConfiguration"]["Options"]
    assert (c["LogConfiguration"]["LogDriver"], options["mode"], options["max-buffer-size"]) == ("awslogs", "non-blocking", "25m")
    assert environment(fleet)["LATTICEGATE_POLICY"] == "s3://foundation-policybucket/ipcontrol.yaml"


def test_emf_dimensions_are_what_scaling_and_alarms_ask_for(fleet):
    env = environment(fleet)
    assert env["LATTICEGATE_METRICS__EMF__NAMESPACE"] == "latticegate"
    assert env["LATTICEGATE_METRICS__EMF__INTERVAL"] == "60s"
    cluster = fleet.one("AWS::ECS::Cluster").id
    dimensions = env["LATTICEGATE_METRICS__EMF__DIMENSIONS"]
    asked = {"cluster": cluster, "service": "latticegate-Proxy"}
    assert dimensions == "{cluster: %(cluster)s, service: %(service)s}" % asked

    seen = 0
    for alarm in fleet.all("AWS::CloudWatch::Alarm"):
        metrics = [m["MetricStat"]["Metric"] for m in alarm.properties.get("Metrics", []) if "MetricStat" in m] or [alarm.properties]
        for metric in metrics:
            if metric["Namespace"] == "latticegate":
                dimensions = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
                assert {k: v for k, v in dimensions.items() if k != "reason"} == asked
                seen += 1
    assert seen == 17
    (connections,) = [r for r in fleet.all("AWS::ApplicationAutoScaling::ScalingPolicy") if r.name == "ScaleOnConnections"]
    metric = connections.properties["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    assert {d["Name"]: d["Value"] for d in metric["Dimensions"]} == asked
    assert (metric["MetricName"], metric["Statistic"]) == ("ActiveConnections", "Average")


def test_service(mode, fleet):
    p = fleet.one("AWS::ECS::Service").properties
    deployment = p["DeploymentConfiguration"]
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["Alarms"]["Enable"] and deployment["Alarms"]["Rollback"]
    # An alarm that a first start, an edit of the list or somebody's broken service can raise must not roll a release back.
    assert {fleet.by_id(a).name for a in deployment["Alarms"]["AlarmNames"]} == {"UnreachableAlarm"}
    for name in deployment["Alarms"]["AlarmNames"]:
        assert fleet.by_id(name).properties["TreatMissingData"] == "notBreaching"
    assert p["AvailabilityZoneRebalancing"] == "ENABLED"
    assert p["EnableExecuteCommand"] == "false"
    assert "DesiredCount" not in p and "LaunchType" not in p
    assert p["CapacityProviderStrategy"] == [{"CapacityProvider": "FARGATE", "Base": "3", "Weight": 1}]
    network = p["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert len(network["Subnets"]) == mode.zones
    groups = {b["TargetGroupArn"]: b["ContainerPort"] for b in p["LoadBalancers"]}
    assert groups == {g.id: g.properties["Port"] for g in fleet.all("AWS::ElasticLoadBalancingV2::TargetGroup")}
    cluster = fleet.one("AWS::ECS::Cluster").properties
    assert cluster["ClusterSettings"] == [{"Name": "containerInsights", "Value": "disabled"}]


def test_scaling(fleet):
    target = fleet.one("AWS::ApplicationAutoScaling::ScalableTarget").properties
    assert (target["MinCapacity"], target["MaxCapacity"]) == ("3", "9")
    policies = {r.name: r.properties["TargetTrackingScalingPolicyConfiguration"] for r in fleet.all("AWS::ApplicationAutoScaling::ScalingPolicy")}
    assert set(policies) == {"ScaleOnCpu", "ScaleOnConnections"}
    assert float(policies["ScaleOnCpu"]["TargetValue"]) == 70
    assert float(policies["ScaleOnConnections"]["TargetValue"]) < 55000
    # Out at once; in no faster than a task can leave.
    deregistration = int(fleet.all("AWS::ElasticLoadBalancingV2::TargetGroup")[0].properties["TargetGroupAttributes"][2]["Value"])
    assert all((p["ScaleOutCooldown"], p["ScaleInCooldown"]) == (60, deregistration) for p in policies.values())


def test_alarms_and_notifications(mode, fleet):
    topic = fleet.one("AWS::SNS::Topic").id
    alarms = fleet.all("AWS::CloudWatch::Alarm")
    names = sorted(a.name for a in alarms)
    zones = [f"ZoneWithoutTarget{i}" for i in range(1, (mode.zones if mode.vpc == "new" else 0) + 1)]
    per_balancer = ["NoHealthyTarget", "PortAllocationErrors", *zones] * (mode.public + mode.private)
    assert names == sorted(["ConnectionsAlarm", "DeploymentFailedAlarm", "DnsFailuresAlarm", "FailedAlarm", "LimitsAlarm", "LinesLostAlarm", "ListAlarm", "RefusedAlarm", "RestartsAlarm", "SilentAlarm", "UnreachableAlarm"] + per_balancer)
    for alarm in alarms:
        if alarm.name != "DeploymentFailedAlarm":
            assert alarm.properties["AlarmActions"] == [topic]
    rule = fleet.one("AWS::Events::Rule").properties
    assert rule["EventPattern"]["detail"]["eventName"] == ["SERVICE_DEPLOYMENT_FAILED"]
    assert rule["EventPattern"]["resources"] == [fleet.one("AWS::ECS::Service").id]
    assert rule["Targets"][0]["Arn"] == topic
    json.loads(fleet.one("AWS::CloudWatch::Dashboard").properties["DashboardBody"])
    assert int(fleet.one("AWS::Logs::LogGroup").properties["RetentionInDays"]) == 30


# ---------- PrivateLink ----------
def test_privatelink(mode, fleet):
    services = fleet.all("AWS::EC2::VPCEndpointService")
    assert len(services) == (1 if mode.privatelink == "on" else 0)
    assert ("EndpointServiceName" in fleet.outputs) == ("EndpointServiceDnsProof" in fleet.outputs) == bool(services)
    for service in services:
        (balancer,) = service.properties["NetworkLoadBalancerArns"]
        assert fleet.by_id(balancer).properties["Scheme"] == "internal"
        assert service.properties["AcceptanceRequired"] == "true"
        assert service.properties["PrivateDnsName"] == "*.services.example.com"
        # The record's whole name; that of all names below a domain is the domain's.
        name, _, value = fleet.outputs["EndpointServiceDnsProof"].partition(" ")
        assert name.startswith("_") and name.endswith(".services.example.com") and "*" not in name and value.startswith("vpce:")
        permissions = fleet.one("AWS::EC2::VPCEndpointServicePermissions").properties
        assert len(permissions["AllowedPrincipals"]) == 2


def test_an_endpoint_service_without_principals_is_closed():
    mode = modes.Mode("PRIVATE", 2, "new", "ASSOCIATION", "on")
    fleet = resolve.resolve(modes.ROOT, mode.parameters(PrivateLinkPrincipals="", PrivateLinkDnsName=""))
    assert fleet.all("AWS::EC2::VPCEndpointService") and not fleet.all("AWS::EC2::VPCEndpointServicePermissions")
    assert "PrivateDnsName" not in fleet.one("AWS::EC2::VPCEndpointService").properties


def test_outputs(mode, fleet):
    assert ("PublicName" in fleet.outputs) == mode.public
    assert ("PrivateName" in fleet.outputs) == mode.private
    for name in ("VpcId", "ClusterName", "ServiceName", "LogGroupName", "PolicyUrl"):
        assert fleet.outputs[name]
    assert ("VpcAssociationId" in fleet.outputs) == (not mode.endpoints)
    assert ("ServiceNetworkEndpointId" in fleet.outputs) == mode.endpoints


def test_no_empty_string_where_an_id_belongs(fleet):
    def walk(node, path):
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}.{key}")
        elif isinstance(node, list):
            for value in node:
                assert value != "", path
                walk(value, path)

    for stack in fleet.walk():
        for r in stack.resources.values():
            if r.type != "AWS::CloudFormation::Stack":
                walk(r.properties, f"{stack.name}.{r.name}")
                for key, value in r.properties.items():
                    assert value != "", f"{stack.name}.{r.name}.{key}"
