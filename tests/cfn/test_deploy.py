"""cfn/deploy against a stub account: what it looks up, what it refuses before anything is changed, what it passes on."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess

import pytest
from stub import DIGEST, IMAGE, REPOSITORY, SCRIPTS, stack, stub  # noqa: F401
from test_faults import CHANGES, FAULTS, existing_vpc, new_fleet


def changed(stub):  # noqa: F811
    return [c for c in stub.calls() if CHANGES.match(c)]


def fleet_deployments(stub):  # noqa: F811
    return [c for c in stub.calls() if c.startswith("cloudformation deploy ") and "--stack-name latticegate " in c]


def refused(stub, *arguments, **env):  # noqa: F811
    """Its last words, after a run that changed nothing."""
    done = stub.run("deploy", "--yes", *arguments, **env)
    assert done.returncode == 1 and not changed(stub), done.stderr + "\n".join(changed(stub))
    return done.stderr


def passed(stub, stack="latticegate"):  # noqa: F811
    """The parameters that the deployment of a stack was given."""
    (call,) = [c for c in stub.calls() if c.startswith("cloudformation deploy") and f"--stack-name {stack} " in c + " "]
    _, _, rest = call.partition("--parameter-overrides ")
    return dict(pair.split("=", 1) for pair in rest.split())


def deployed(stub, *arguments):  # noqa: F811
    done = stub.run("deploy", "--yes", *arguments)
    assert done.returncode == 0, done.stderr
    return passed(stub)


# ---------- Fargate's quota ----------
# Twice the tasks: a rolling update has old and new side by side. The fleet of the stub is 3 × 1 vCPU.
@pytest.mark.parametrize("quota, arguments, need", [("6.0", ["TaskSize=2vCPU-4GB"], "12"), ("6.0", ["MinTasks=4"], "8"), ("6.0", ["MinTasks=4", "FargateSpotShare=50", "OnDemandBase=3"], "8")])
def test_a_quota_that_an_update_does_not_fit_is_said_first(stub, quota, arguments, need):  # noqa: F811
    stub.answer("get-service-quota", quota)
    said = refused(stub, *arguments)
    assert f"is {quota.removesuffix('.0')} in this region" in said and f"need {need} " in said
    assert re.search(r"request-service-quota-increase .*--quota-code L-3032A538 --desired-value %d\b" % -(-float(need) // 1), said)


def test_a_running_fleet_that_exceeds_the_quota_can_be_updated(stub):  # noqa: F811
    """An urgent fix could not be deployed at all."""
    for quota, arguments, need in (("5.0", [], "6"), ("0.0", ["TaskSize=0.25vCPU-0.5GB"], "1.5"), ("1.0", ["MinTasks=2"], "4")):
        stub.answer("get-service-quota", quota)
        done = stub.run("deploy", "--yes", *arguments)
        assert done.returncode == 0 and f"is {quota.removesuffix('.0')} in this region" in done.stderr and f"need {need} " in done.stderr
        assert "An update waits for capacity" in done.stderr and f"--desired-value {-(-float(need) // 1):g}" in done.stderr
    code, out = answered(stub, "n")
    assert code == 1 and "need 6 " in out and "nothing was changed" in out and not changed(stub)


@pytest.mark.parametrize(
    "share, base, tasks, on_demand, spot",
    # Of 1 vCPU each; twice of them in an update.
    [("75", "0", "4", "2", "6"), ("75", "3", "4", "8", "2"), ("50", "1", "5", "6", "4"), ("25", "0", "3", "6", "2"), ("0", "3", "4", "8", None), ("50", "9", "4", "8", None)],
)
def test_spot_tasks_have_a_quota_of_their_own(stub, share, base, tasks, on_demand, spot):  # noqa: F811
    given = [f"FargateSpotShare={share}", f"OnDemandBase={base}", f"MinTasks={tasks}"]
    stub.error("get-service-quota", "AccessDeniedException")
    done = stub.run("deploy", "--yes", *given)
    said = dict(re.findall(r'the quota "Fargate (\S+) vCPU resource count" cannot be read .*: it must be (\S+) or more', done.stderr))
    assert done.returncode == 0 and said == {"On-Demand": on_demand} | ({"Spot": spot} if spot else {})
    asked = {re.search(r"--quota-code (\S+)", c)[1] for c in stub.calls() if "get-service-quota " in c}
    assert asked == {"L-3032A538"} | ({"L-36FBB829"} if spot else set())


def test_what_other_tasks_use_counts(stub):  # noqa: F811
    stub.answer("get-service-quota", "10.0")
    # 3 of it are the fleet's own.
    stub.answer("get-metric-statistics", {"Datapoints": [{"Maximum": 7.0}]})
    deployed(stub)
    stub.answer("get-metric-statistics", {"Datapoints": [{"Maximum": 7.5}]})
    done = stub.run("deploy", "--yes")
    assert "is 10 in this region, other tasks use 4.5; 3 tasks of 1 vCPU need 6" in done.stderr and "--desired-value 11" in done.stderr
    (call,) = [c for c in stub.calls() if "get-metric-statistics" in c]
    assert "Name=Class,Value=Standard/OnDemand" in call and re.search(r"--start-time 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", call)
    # A new fleet has none of it.
    new_fleet(stub)
    stub.answer("get-metric-statistics", {"Datapoints": [{"Maximum": 8.0}]})
    assert "other tasks use 8" in refused(stub)
    # Not known: the whole quota is compared, and that is said.
    stub.answer("get-service-quota", "1.0")
    stub.error("get-metric-statistics", "AccessDenied")
    assert "is 1 in this region (the whole of it: what other tasks use is not known)" in refused(stub)


def test_a_quota_that_is_enough_or_cannot_be_read_stops_nothing(stub):  # noqa: F811
    stub.answer("get-service-quota", "6.0")
    deployed(stub)
    stub.error("get-service-quota", "AccessDeniedException")
    done = stub.run("deploy", "--yes")
    assert done.returncode == 0 and "cannot be read" in done.stderr and "must be 6 or more" in done.stderr
    # An account that never asked for more has AWS's default, if anything.
    stub.error("get-service-quota", "NoSuchResourceException")
    stub.answer("get-aws-default-service-quota", "2.0")
    new_fleet(stub)
    assert "is 2 in this region" in refused(stub)


def test_a_quota_is_judged_by_the_default_size_for_a_new_fleet(stub):  # noqa: F811
    new_fleet(stub)
    stub.answer("get-service-quota", "1.0")
    size = re.search(r"^  TaskSize:\n(?:    .*\n)*?    Default: ([0-9.]+)vCPU", (SCRIPTS / "root.yaml").read_text(), re.M)[1]
    assert f"3 tasks of {size} vCPU need {6 * float(size):g} " in refused(stub)


# ---------- the key ----------
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"


def test_a_rerun_keeps_the_key_of_the_foundation(stub):  # noqa: F811
    """It once passed an empty one: a new, empty repository, and a list that no task could read."""
    stub.foundation({"KmsKeyArn": KEY})
    stub.without_fleet()
    assert deployed(stub, "VPCLatticeServiceNetwork=sn-0123456789abcdef0")["KmsKeyArn"] == KEY
    # CloudFormation keeps what the foundation has: nothing is passed.
    assert passed(stub, "latticegate-foundation") == {}
    # The key that it has may be said again.
    assert deployed(stub, f"KmsKeyArn={KEY}")["KmsKeyArn"] == KEY


@pytest.mark.parametrize("has, wanted", [(KEY, KEY[:-1] + "2"), (KEY, ""), ("", KEY)])
def test_another_key_would_be_another_repository(stub, has, wanted):  # noqa: F811
    stub.foundation({"KmsKeyArn": has})
    assert "a repository keeps its key" in refused(stub, f"KmsKeyArn={wanted}")


def test_the_first_key_is_given_to_both(stub):  # noqa: F811
    new_fleet(stub)
    stub.write("pushed", DIGEST)
    assert deployed(stub, f"KmsKeyArn={KEY}", "VPCLatticeServiceNetwork=sn-0123456789abcdef0")["KmsKeyArn"] == KEY
    assert passed(stub, "latticegate-foundation") == {"KmsKeyArn": KEY}


# ---------- the boundary of the roles ----------
BOUNDARY = "arn:aws:iam::123456789012:policy/latticegate-foundation-FleetBoundary-1"


def test_the_roles_of_a_new_fleet_are_bounded(stub):  # noqa: F811
    network = "VPCLatticeServiceNetwork=sn-0123456789abcdef0"
    new_fleet(stub)
    stub.write("pushed", DIGEST)
    assert deployed(stub, network)["PermissionsBoundaryArn"] == BOUNDARY
    (foundation,) = [c for c in stub.calls() if "cloudformation deploy" in c and "--stack-name latticegate-foundation " in c]
    assert "--capabilities CAPABILITY_IAM" in foundation
    # Another one, or none, is a choice.
    other = BOUNDARY.replace("latticegate-foundation-FleetBoundary-1", "other")
    assert deployed(stub, network, f"PermissionsBoundaryArn={other}")["PermissionsBoundaryArn"] == other
    assert deployed(stub, network, "PermissionsBoundaryArn=")["PermissionsBoundaryArn"] == ""
    # It would not allow another bucket.
    done = stub.run("deploy", "--yes", network, "PolicyBucket=mine")
    assert "PermissionsBoundaryArn" not in passed(stub) and "get no permissions boundary" in done.stderr


def test_the_roles_of_a_running_fleet_stay_as_they_are(stub):  # noqa: F811
    assert "PermissionsBoundaryArn" not in deployed(stub)
    stub.fleet({}, RoleARN="arn:aws:iam::1:role/pipeline")
    done = stub.run("deploy", "--yes")
    assert "PermissionsBoundaryArn" not in passed(stub) and f"PermissionsBoundaryArn={BOUNDARY} sets it" in done.stderr
    stub.fleet({"PermissionsBoundaryArn": BOUNDARY}, RoleARN="arn:aws:iam::1:role/pipeline")
    assert "sets it" not in stub.run("deploy", "--yes").stderr


# ---------- an existing VPC ----------
def endpoints(*services, **more):
    return {"VpcEndpoints": [{"ServiceName": f"com.amazonaws.us-east-1.{s}", "VpcEndpointType": "Interface", "PrivateDnsEnabled": True} | more for s in services]}


@pytest.mark.parametrize(
    "there, text",
    [
        ([], "AwsEndpoints=create, endpoints that then answer for every workload"),
        (["ecr.api", "ecr.dkr", "logs"], "AwsEndpoints=existing AwsServicesEgressCidr=10.0.0.0/16"),
        (["logs", "sqs"], "AwsEndpoints=create:ecr.api,ecr.dkr,s3 AwsServicesEgressCidr=10.0.0.0/16"),
    ],
)
def test_how_an_existing_vpc_reaches_aws_is_not_guessed(stub, there, text):  # noqa: F811
    existing_vpc(stub)
    stub.answer("describe-vpc-endpoints", endpoints(*there))
    assert text in refused(stub)


@pytest.mark.parametrize(
    "given, there, twice, fix",
    [
        (["AwsEndpoints=create"], ["logs"], "logs", "AwsEndpoints=create:ecr.api,ecr.dkr,s3 AwsServicesEgressCidr=10.0.0.0/16"),
        (["AwsEndpoints=create:logs,ecr.api"], ["logs", "ecr.dkr"], "logs", "AwsEndpoints=create:ecr.api,s3 "),
        # Not those of the tasks alone: what EnableExec and MoreAwsEndpoints want as well.
        (["AwsEndpoints=create", "EnableExec=true"], ["ssmmessages"], "ssmmessages", "AwsEndpoints=create:ecr.api,ecr.dkr,logs,s3 "),
        (["AwsEndpoints=create:ecr.api,ecr.dkr,logs,s3,ssmmessages"], ["ssmmessages"], "ssmmessages", "AwsEndpoints=create:ecr.api,ecr.dkr,logs,s3 "),
        (["AwsEndpoints=create", "MoreAwsEndpoints=ssm,secretsmanager"], ["ssm"], "ssm", "MoreAwsEndpoints=secretsmanager;"),
        (["AwsEndpoints=existing", "AwsServicesEgressCidr=0.0.0.0/0", "MoreAwsEndpoints=ssm"], ["ssm"], "ssm", "MoreAwsEndpoints=;"),
        (["AwsEndpoints=create", "EnableExec=true"], ["ecr.api", "ecr.dkr", "logs", "ssmmessages"], "ecr.api,ecr.dkr,logs,ssmmessages", "AwsEndpoints=existing "),
    ],
)
def test_an_endpoint_that_is_there_cannot_be_made_again(stub, given, there, twice, fix):  # noqa: F811
    existing_vpc(stub)
    stub.answer("describe-vpc-endpoints", endpoints(*there))
    said = refused(stub, *given)
    assert f"has endpoints for {twice} already" in said and fix in said
    # What the help says is accepted.
    words = [w for w in re.search(r"help: (.*) \(its own", said)[1].replace(";", "").split() if "=" in w]
    kept = [g for g in given if g.split("=")[0] not in {w.split("=")[0] for w in words}]
    assert {w.split("=")[0]: w.split("=")[1] for w in words}.items() <= deployed(stub, *kept, *words).items()


def in_use(stub, **parameters):  # noqa: F811
    """A fleet in an existing VPC, as an earlier run left it."""
    existing_vpc(stub)
    stub.fleet({"DeploymentMode": "PRIVATE", "ExistingVpcId": "vpc-1", "ExistingPrivateSubnetIds": "subnet-1", "ExistingPrivateSubnetCidrs": "10.0.1.0/24", "ExistingVpcCidrs": "10.0.0.0/16", "AwsEndpoints": "create"} | parameters)


def test_an_update_that_adds_an_endpoint_is_looked_at(stub):  # noqa: F811
    """Only the first deployment was, and the stack's own endpoints hid those that others have made."""
    in_use(stub)
    stub.answer("describe-vpc-endpoints", endpoints("ecr.api", "ecr.dkr", "logs", "ssmmessages", "ssm"))
    deployed(stub)
    assert "has endpoints for ssmmessages already" in refused(stub, "EnableExec=true")
    assert "has endpoints for ssm already" in refused(stub, "MoreAwsEndpoints=ssm")
    assert deployed(stub, "MoreAwsEndpoints=secretsmanager")
    # Its own stay its own, however they are named.
    assert deployed(stub, "AwsEndpoints=create:ecr.api,ecr.dkr,logs,s3", "EnableExec=true", "AwsServicesEgressCidr=10.0.0.0/16")
    in_use(stub, EnableExec="true", MoreAwsEndpoints="ssm")
    stub.answer("describe-vpc-endpoints", endpoints("ecr.api", "ecr.dkr", "logs", "ssmmessages", "ssm"))
    assert deployed(stub)


def test_endpoints_without_private_dns_of_other_services_and_of_the_stack_are_no_hindrance(stub):  # noqa: F811
    existing_vpc(stub)
    stub.answer("describe-vpc-endpoints", {"VpcEndpoints": endpoints("logs", PrivateDnsEnabled=False)["VpcEndpoints"] + endpoints("sqs")["VpcEndpoints"]})
    deployed(stub, "AwsEndpoints=create")
    stub.answer("describe-vpc-endpoints", endpoints("logs", "ecr.api", "ecr.dkr"))
    deployed(stub, "AwsEndpoints=existing", "AwsServicesEgressCidr=10.0.0.0/16")
    # Its own, made by an earlier run.
    in_use(stub)
    stub.answer("describe-vpc-endpoints", endpoints("logs", "ecr.api", "ecr.dkr"))
    deployed(stub)
    deployed(stub, "AwsEndpoints=create")


def test_the_s3_gateway_of_the_private_route_tables_counts(stub):  # noqa: F811
    existing_vpc(stub)
    gateway = {"VpcEndpoints": [{"ServiceName": "com.amazonaws.us-east-1.s3", "VpcEndpointType": "Gateway", "PrivateDnsEnabled": False, "RouteTableIds": ["rtb-1"]}]}
    stub.answer("describe-vpc-endpoints", gateway)
    deployed(stub, "AwsEndpoints=create", "ExistingPrivateRouteTableIds=rtb-2")
    assert "endpoints for s3 already" in refused(stub, "AwsEndpoints=create", "ExistingPrivateRouteTableIds=rtb-2,rtb-1")


# ---------- what somebody has set stays ----------
def vpc_of(stub, *cidrs):  # noqa: F811
    stub.answer("describe-vpcs", {"Vpcs": [{"CidrBlockAssociationSet": [{"CidrBlock": c, "CidrBlockState": {"State": "associated"}} for c in cidrs]}]})


def test_a_rerun_cuts_no_network_off(stub):  # noqa: F811
    """It put the VPC's own CIDRs in the place of what was there: networks that use the VPC's resolver lost ECR and logs."""
    in_use(stub, ExistingVpcCidrs="10.0.0.0/16,172.16.0.0/12")
    assert deployed(stub, "MinTasks=2")["ExistingVpcCidrs"] == "10.0.0.0/16,172.16.0.0/12"
    # What the VPC got meanwhile is added, unless it is in there already.
    vpc_of(stub, "10.0.0.0/16", "10.1.0.0/16", "172.20.0.0/16")
    assert deployed(stub)["ExistingVpcCidrs"] == "10.0.0.0/16,172.16.0.0/12,10.1.0.0/16"
    # What is said is said; a network that it omits is named.
    done = stub.run("deploy", "--yes", "ExistingVpcCidrs=10.0.0.0/15")
    assert passed(stub)["ExistingVpcCidrs"] == "10.0.0.0/15" and "does not hold 172.20.0.0/16 of vpc-1" in done.stderr


def test_more_than_five_networks_are_refused_first(stub):  # noqa: F811
    in_use(stub, ExistingVpcCidrs="10.0.0.0/16,172.16.0.0/12")
    vpc_of(stub, *(f"10.{i}.0.0/16" for i in range(5)))
    said = refused(stub)
    assert "are 6 CIDRs, and ExistingVpcCidrs takes five: 10.0.0.0/16,172.16.0.0/12,10.1.0.0/16" in said and "networks that hold all of them" in said
    assert deployed(stub, "ExistingVpcCidrs=10.0.0.0/8,172.16.0.0/12")
    # A wider one stays in the next run.
    in_use(stub, ExistingVpcCidrs="10.0.0.0/8,172.16.0.0/12")
    vpc_of(stub, *(f"10.{i}.0.0/16" for i in range(5)))
    assert deployed(stub)["ExistingVpcCidrs"] == "10.0.0.0/8,172.16.0.0/12"
    # Where no endpoint is made, none has to admit anybody.
    in_use(stub, AwsEndpoints="existing", AwsServicesEgressCidr="0.0.0.0/0", ExistingVpcCidrs="")
    vpc_of(stub, *(f"10.{i}.0.0/16" for i in range(6)))
    assert "ExistingVpcCidrs" not in deployed(stub)


def test_cidrs_are_those_of_the_subnets(stub):  # noqa: F811
    """They were looked up once: other subnets kept the CIDRs of the first, and PROXY headers were trusted from there. Then they were
    looked up each time, against what somebody had set."""
    in_use(stub, ExistingPrivateSubnetCidrs="10.0.9.0/24")
    assert deployed(stub, "ExistingPrivateSubnetIds=subnet-7")["ExistingPrivateSubnetCidrs"] == "10.0.1.0/24"
    assert deployed(stub, "ExistingPrivateSubnetCidrs=10.1.0.0/24")["ExistingPrivateSubnetCidrs"] == "10.1.0.0/24"
    done = stub.run("deploy", "--yes")
    assert "ExistingPrivateSubnetCidrs" not in passed(stub) and "ExistingPrivateSubnetCidrs stays 10.0.9.0/24; the subnets have 10.0.1.0/24" in done.stderr
    in_use(stub, ExistingPrivateSubnetCidrs="")
    assert deployed(stub)["ExistingPrivateSubnetCidrs"] == "10.0.1.0/24"


def test_a_zone_that_is_said_is_not_overwritten(stub):  # noqa: F811
    """Or it was, without a word, where the first zone was to be looked up."""
    new_fleet(stub)
    assert "AvailabilityZone1 is not" in refused(stub, "AvailabilityZone2=us-east-1f")
    stub.write("pushed", DIGEST)
    given = deployed(stub, "AvailabilityZone1=us-east-1e", "AvailabilityZone2=us-east-1f")
    assert (given["AvailabilityZone1"], given["AvailabilityZone2"]) == ("us-east-1e", "us-east-1f") and "AvailabilityZone3" not in given


def test_no_parameter_of_a_running_fleet_is_passed_unasked(stub):  # noqa: F811
    """CloudFormation keeps what is not named. Named: the image of these sources, and what follows from the account."""
    wanted = {"Image"}
    assert set(deployed(stub)) == wanted and set(deployed(stub, "MinTasks=4")) == wanted | {"MinTasks"}
    in_use(stub)
    assert set(deployed(stub)) <= wanted | {"ExistingVpcCidrs", "ImageRepositoryArn", "PolicyBucket"}


@pytest.mark.parametrize(
    "subnets, text",
    [
        ([{"SubnetId": "subnet-1", "VpcId": "vpc-2"}], "subnet-1 is in vpc-2"),
        ([{"SubnetId": "subnet-1", "VpcId": "vpc-1", "AvailabilityZoneId": "use1-az1"}, {"SubnetId": "subnet-2", "VpcId": "vpc-1", "AvailabilityZoneId": "use1-az1"}], "subnet-1 and subnet-2 are in one zone"),
    ],
)
def test_subnets_that_no_load_balancer_takes(stub, subnets, text):  # noqa: F811
    existing_vpc(stub)
    stub.answer("describe-subnets", {"Subnets": [{"CidrBlock": "10.0.1.0/24"} | s for s in subnets]})
    assert text in refused(stub, "AwsEndpoints=create")


# ---------- IPv6 of an existing VPC ----------
SIX = {"CidrBlock": "10.0.1.0/24", "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": "fd00::/64", "Ipv6CidrBlockState": {"State": "associated"}}]}


@pytest.mark.parametrize(
    "arguments, without, family",
    [
        (["PrivateClientIpv6Cidr=fd00::/8"], "subnet-1", "ipv4"),
        # Tasks, and a load balancer without IPv6 clients, need none.
        ([], "subnet-1", None),
        (["DeploymentMode=BOTH", "ExistingPublicSubnetIds=subnet-2"], "subnet-1", None),
        (["DeploymentMode=BOTH", "ExistingPublicSubnetIds=subnet-2"], "subnet-2", "ipv4"),
        (["DeploymentMode=BOTH", "ExistingPublicSubnetIds=subnet-2", "PublicClientIpv6Cidr="], "subnet-2", None),
        (["LatticeAccess=ENDPOINTS", "ExistingEndpointSubnetIds=subnet-3"], "subnet-3", "ipv4"),
    ],
)
def test_ipv6_is_missed_where_it_would_be_used(stub, arguments, without, family):  # noqa: F811
    existing_vpc(stub)
    stub.without_fleet()
    # The stub knows no subnets apart: all have IPv6, but those that are asked for alone with the one that has not.
    stub.answer("describe-subnets", {"Subnets": [SIX]})
    stub.tool("aws", stub.bin.joinpath("aws").read_text().replace("for answer in", f'case "$*" in *describe-subnets*{without}*) echo \'{{"Subnets": [{{"CidrBlock": "10.0.1.0/24"}}]}}\'; exit ;; esac\nfor answer in', 1))
    given = ["DeploymentMode=PRIVATE", "ExistingVpcId=vpc-1", "ExistingPrivateSubnetIds=subnet-1", "AwsEndpoints=create", "VPCLatticeServiceNetwork=sn-0123456789abcdef0"]
    assert deployed(stub, *given, *arguments).get("IpAddressType") == family
    assert deployed(stub, *given, *arguments, "IpAddressType=dualstack")["IpAddressType"] == "dualstack"


# ---------- refused before anything is made ----------
@pytest.mark.parametrize(
    "arguments, text",
    [
        (["TaskSize=4vCPU"], "TaskSize=4vCPU\n  help: one of 2vCPU-4GB"),
        (["VPCLatticeServiceNetwork=sn-1"], "VPCLatticeServiceNetwork=sn-1\n  help: it must match"),
        (["PrivateLink=on", "DeploymentMode=PUBLIC"], "PrivateLink is on but DeploymentMode is PUBLIC"),
        (["LatticeAccess=ENDPOINTS", "EndpointVpcCidr=10.0.0.0/23"], "of another range than VpcCidr"),
        (["LatticeAccess=ENDPOINTS", "VpcCidr=100.64.0.0/16"], "EndpointVpcCidr=100.64.0.0/23 overlaps VpcCidr=100.64.0.0/16"),
        (["PublicAllocationIds=eipalloc-01"], "PublicAllocationIds has 1 for 3 zones"),
        (["MinTasks=1\nMaxTasks=2"], "MinTasks has several lines"),
        (["MinTasks=10"], "MinTasks=10 is above MaxTasks=9"),
    ],
)
def test_parameters_that_would_fail_late_fail_first(stub, arguments, text):  # noqa: F811
    """After the foundation, and an image that took minutes to build."""
    new_fleet(stub)
    given = arguments if any("ServiceNetwork=" in a for a in arguments) else ["VPCLatticeServiceNetwork=sn-0123456789abcdef0", *arguments]
    assert text in refused(stub, *given)
    assert stub.run("deploy", "--dry-run", *given).returncode == 1


def test_what_the_stack_has_is_judged_by_the_template_of_today(stub):  # noqa: F811
    stub.fleet({"TaskSize": "8vCPU-16GB", "LogKeep": "nothing"})
    said = refused(stub)
    assert "TaskSize=8vCPU-16GB" in said and "LogKeep=nothing" in said
    assert "TaskSize" not in refused(stub, "TaskSize=1vCPU-2GB")


# ---------- changes that are no updates ----------
@pytest.mark.parametrize(
    "has, wanted, text",
    [
        ({}, "PublicAllocationIds=eipalloc-01", "AWS does not change the addresses of a load balancer"),
        ({"PublicAllocationIds": "eipalloc-01"}, "PublicAllocationIds=", "AWS does not change the addresses of a load balancer"),
        ({"DeploymentMode": "BOTH", "PrivateAddresses": "192.168.1.100"}, "PrivateAddresses=192.168.1.101", "AWS does not change the addresses of a load balancer"),
        ({"VpcCidr": "192.168.1.0/24"}, "VpcCidr=10.20.0.0/24", "would have to move to another VPC"),
        ({}, "ExistingVpcId=vpc-2", "would have to move to another VPC"),
    ],
)
def test_what_aws_cannot_change_is_refused(stub, has, wanted, text):  # noqa: F811
    stub.fleet(has)
    said = refused(stub, wanted)
    assert text in said and "--stack OTHER" in said


def test_an_address_for_one_more_zone_is_no_other_address(stub):  # noqa: F811
    stub.fleet({"PublicAllocationIds": "eipalloc-01"})
    assert deployed(stub, "PublicAllocationIds=eipalloc-01,eipalloc-02", "AvailabilityZone2=us-east-1b")
    # The same again, and the first deployment, are none either.
    assert deployed(stub, "PublicAllocationIds=eipalloc-01")
    # Nor those of a load balancer that is made, or goes.
    stub.fleet({"DeploymentMode": "PUBLIC"})
    assert deployed(stub, "DeploymentMode=BOTH", "PrivateAddresses=192.168.1.100")
    stub.fleet({"DeploymentMode": "BOTH", "PublicAllocationIds": "eipalloc-01"})
    assert deployed(stub, "DeploymentMode=PRIVATE", "PublicAllocationIds=")
    new_fleet(stub)
    stub.write("pushed", DIGEST)
    assert deployed(stub, "PublicAllocationIds=eipalloc-01,eipalloc-02,eipalloc-03", "VPCLatticeServiceNetwork=sn-0123456789abcdef0")


@pytest.mark.parametrize(
    "has, wanted, text",
    [
        ({}, "LatticeAccess=ENDPOINTS", "running tasks use the old access"),
        ({"LatticeAccess": "ENDPOINTS", "UpstreamNames": "{ a.example.com: b.example.com }"}, "UpstreamNames=", "no longer do"),
        ({"DeploymentMode": "BOTH"}, "DeploymentMode=PUBLIC", "a load balancer is deleted"),
    ],
)
def test_what_interrupts_is_asked_about(stub, has, wanted, text):  # noqa: F811
    stub.fleet(has)
    code, out = answered(stub, "n", wanted)
    assert code == 1 and text in out and "nothing was changed" in out
    assert not changed(stub)
    done = stub.run("deploy", "--yes", wanted)
    assert done.returncode == 0 and text in done.stderr


# ---------- states ----------
@pytest.mark.parametrize(
    "status, text",
    [
        ("ROLLBACK_COMPLETE", "cfn/destroy --stack latticegate, then cfn/deploy"),
        ("ROLLBACK_FAILED", "cfn/destroy --stack latticegate, then cfn/deploy"),
        ("DELETE_FAILED", "cfn/destroy --stack latticegate, then cfn/deploy"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name latticegate"),
        ("UPDATE_FAILED", "rollback-stack --stack-name latticegate"),
        ("UPDATE_IN_PROGRESS", "wait until it has ended"),
    ],
)
def test_each_state_has_its_own_way_out(stub, status, text):  # noqa: F811
    stub.answer("describe-stacks", stack("latticegate", status), "latticegate")
    assert text in refused(stub)


def test_a_foundation_that_failed_is_seen_as_well(stub):  # noqa: F811
    stub.without_fleet()
    stub.foundation(status="ROLLBACK_COMPLETE")
    assert "cfn/destroy --stack latticegate --empty" in refused(stub)


def test_zones_of_a_running_vpc_are_not_silently_ignored(stub):  # noqa: F811
    assert "--zones is for a new VPC" in refused(stub, "--zones", "2")


def test_a_role_that_is_gone_is_said(stub):  # noqa: F811
    """The pipeline was deleted before the fleet."""
    stub.fleet({}, RoleARN="arn:aws:iam::1:role/some/pipeline-DeployRole-1")
    stub.error("get-role", "NoSuchEntity", about="pipeline-DeployRole-1")
    assert "--role ARN" in refused(stub)
    done = stub.run("deploy", "--yes", "--role", "arn:aws:iam::1:role/other")
    assert done.returncode == 0, done.stderr
    (call,) = fleet_deployments(stub)
    assert "--role-arn arn:aws:iam::1:role/other" in call


def test_a_role_that_may_not_be_seen_stops_nothing(stub):  # noqa: F811
    """Nor does the service-linked role of ECS, which is there wherever ECS was used."""
    stub.fleet({}, RoleARN="arn:aws:iam::1:role/pipeline")
    stub.error("get-role", "AccessDenied")
    stub.error("create-service-linked-role", "AccessDenied")
    done = stub.run("deploy", "--yes")
    assert done.returncode == 0 and "ask an administrator" in done.stderr


# ---------- asking ----------
def answered(stub, reply, *arguments):  # noqa: F811
    """deploy on a terminal, where somebody answers."""
    main, other = pty.openpty()
    stub.calls_file.write_text("")
    with os.fdopen(main, "wb", buffering=0) as keyboard:
        process = subprocess.Popen([SCRIPTS / "deploy", *arguments], env=stub.env, stdin=other, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        os.close(other)
        keyboard.write(f"{reply}\n".encode())
        out, _ = process.communicate(timeout=120)
    return process.returncode, out


def test_a_new_fleet_is_asked_about_before_anything_is_made(stub):  # noqa: F811
    new_fleet(stub)
    code, out = answered(stub, "n")
    assert code == 1 and "nothing was changed" in out
    assert not changed(stub)


def test_an_update_is_asked_about_when_its_changes_are_shown(stub):  # noqa: F811
    code, out = answered(stub, "n")
    assert code == 1 and "the fleet was not changed" in out
    assert not fleet_deployments(stub)


# ---------- changes ----------
def nested(stub):  # noqa: F811
    """A change set of which one part changes a task definition and another nothing."""
    change = lambda action, name, kind, **more: {"Type": "Resource", "ResourceChange": {"Action": action, "LogicalResourceId": name, "ResourceType": kind, **more}}  # noqa: E731
    part = "AWS::CloudFormation::Stack"
    stub.answer("create-change-set", "root")
    stub.answer("describe-change-set", {"Status": "CREATE_COMPLETE", "Changes": [change("Modify", "Proxy", part, ChangeSetId="proxy", PhysicalResourceId="stack-proxy"), change("Modify", "Network", part, ChangeSetId="network", PhysicalResourceId="stack-network")]}, "root")
    stub.answer("describe-change-set", {"Status": "CREATE_COMPLETE", "Changes": [change("Modify", "TaskDefinition", "AWS::ECS::TaskDefinition", Replacement="True", Details=[{"Target": {"Attribute": "Properties", "Name": "Cpu"}}])]}, "proxy")
    stub.answer("describe-change-set", {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes.", "Changes": []}, "network")


def test_a_plan_looks_into_nested_stacks_and_executes_nothing(stub):  # noqa: F811
    nested(stub)
    done = stub.run("deploy", "--plan")
    assert done.returncode == 0, done.stderr
    assert re.search(r"Modify +Proxy/TaskDefinition  AWS::ECS::TaskDefinition  REPLACED: True  \(Cpu\)", done.stderr)
    # A part that changes nothing is not named as a change.
    assert "Network" not in done.stderr
    assert "--include-nested-stacks" in "".join(c for c in stub.calls() if "create-change-set" in c)
    assert "execute-change-set --change-set-name root" in done.stderr
    assert not fleet_deployments(stub) and "delete-change-set" not in "".join(changed(stub))


def test_an_update_shows_the_same_and_leaves_no_change_set(stub):  # noqa: F811
    nested(stub)
    done = stub.run("deploy", "--yes")
    assert "Proxy/TaskDefinition" in done.stderr
    assert [c.split()[1] for c in changed(stub)][-2:] == ["delete-change-set", "deploy"]


def test_nothing_to_change_is_no_execution(stub):  # noqa: F811
    """A root with nested stacks never makes an empty change set: the same templates and parameters decide."""
    packaged = (stub.directory / "answers/package").read_text()
    stub.answer("get-template", json.dumps(packaged))
    for arguments in ([], ["MinTasks=3"], ["--plan"]):
        done = stub.run("deploy", "--yes", *arguments)
        assert done.returncode == 0 and "nothing to change" in done.stderr
        assert not fleet_deployments(stub) and "change-set" not in "".join(changed(stub))
    # Another value, another image or another template is a change.
    for arguments in (["MinTasks=4"], ["--image", IMAGE.replace("ab", "cd")]):
        assert "nothing to change" not in stub.run("deploy", "--yes", *arguments).stderr
    stub.answer("get-template", json.dumps(packaged + "# older\n"))
    assert "nothing to change" not in stub.run("deploy", "--yes").stderr


def test_a_parameter_that_the_template_dropped_is_not_passed(stub):  # noqa: F811
    stub.fleet({"DroppedInThisRelease": "x"})
    # parameters.json is gone with the scratch directory: the stub keeps what create-change-set was given.
    stub.tool("aws", stub.bin.joinpath("aws").read_text().replace("for answer in", 'case "$*" in *create-change-set*) cat "$(echo "$*" | tr " " "\\n" | grep file:// | cut -c8-)" >"$STUB/parameters" ;; esac\nfor answer in', 1))
    stub.run("deploy", "--plan", "MinTasks=5")
    given = {p["ParameterKey"]: p for p in json.loads((stub.directory / "parameters").read_text())}
    assert "DroppedInThisRelease" not in given
    assert given["MinTasks"]["ParameterValue"] == "5" and given["TaskSize"] == {"ParameterKey": "TaskSize", "UsePreviousValue": True}


# ---------- failures ----------
def event(stack_id, name, status, at, reason="", kind="AWS::ECS::Service", physical="thing"):
    return {"StackId": stack_id, "LogicalResourceId": name, "ResourceType": kind, "PhysicalResourceId": physical, "ResourceStatus": status, "ResourceStatusReason": reason, "Timestamp": f"2026-11-28T10:{at:02}:00+00:00"}


def test_the_causes_are_those_of_this_operation_through_nested_stacks(stub):  # noqa: F811
    lost(stub, "UPDATE_ROLLBACK_COMPLETE")
    root, part, kind = "arn:root", "arn:proxy", "AWS::CloudFormation::Stack"
    old = [event(root, f"Old{i}", "UPDATE_FAILED", i, "an old story") for i in range(4)]
    now = [
        event(root, "latticegate", "UPDATE_IN_PROGRESS", 20, "User Initiated", kind, root),
        event(root, "Lattice", "UPDATE_FAILED", 22, "Resource update cancelled", kind, "arn:lattice"),
        event(root, "Proxy", "UPDATE_FAILED", 23, "Embedded stack arn:proxy was not successfully updated", kind, part),
        event(root, "latticegate", "UPDATE_ROLLBACK_IN_PROGRESS", 24, "The following resource(s) failed", kind, root),
        event(root, "Proxy", "UPDATE_COMPLETE", 30, "", kind, part),
    ]
    stub.answer("describe-stack-events", {"StackEvents": (old + now)[::-1]}, "latticegate")
    stub.answer("describe-stack-events", {"StackEvents": [event(part, "Service", "UPDATE_FAILED", 23, "Circuit Breaker\nwas triggered"), event(part, "Service", "UPDATE_FAILED", 5, "long ago")]}, "arn_proxy")
    done = stub.run("deploy", "--yes")
    assert done.returncode == 1
    causes = re.search(r"the first causes:\n(.*?)\n\ndeploy:", done.stderr, re.S)[1]
    assert causes == "    Service (AWS::ECS::Service): Circuit Breaker was triggered"
    assert "deploy: stack latticegate failed and was rolled back\n" in done.stderr


def lost(stub, status=None, about="latticegate", **error):  # noqa: F811
    """The wait of `aws cloudformation deploy` ends, whatever the reason: these are its words. Then the stack has this status."""
    before = (stub.directory / f"answers/describe-stacks.{about}").read_text()
    stub.write(f"answers/deploy.{about}.error", "Waiting for changeset to be created..\nWaiting for stack create/update to complete\n\nFailed to create/update the stack. Run the following command\nto fetch the list of events leading up to the failure\n")
    stub.absent("deploy")
    stub.answer("deploy", "", "latticegate-foundation" if about == "latticegate" else "latticegate")
    stub.answer("describe-stack-events", {"StackEvents": []})
    stub.answer("describe-stacks", before, about, once=True)
    if status:
        stub.answer("describe-stacks", stack(about, status), about)
    else:
        stub.absent("describe-stacks", about)
        stub.error("describe-stacks", **error, about=about)


@pytest.mark.parametrize(
    "status, text, wait",
    [
        ("UPDATE_IN_PROGRESS", "is still under way (UPDATE_IN_PROGRESS)", "stack-update-complete"),
        ("CREATE_IN_PROGRESS", "is still under way (CREATE_IN_PROGRESS)", "stack-create-complete"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "is still under way", "stack-update-complete"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "failed and is being rolled back", "stack-rollback-complete"),
        ("ROLLBACK_IN_PROGRESS", "failed and is being rolled back", "stack-create-complete"),
        ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "failed and is being rolled back", "stack-rollback-complete"),
        ("UPDATE_ROLLBACK_COMPLETE", "failed and was rolled back", None),
        ("ROLLBACK_COMPLETE", "failed and was rolled back", None),
        ("UPDATE_ROLLBACK_FAILED", "failed and is UPDATE_ROLLBACK_FAILED", None),
        ("CREATE_FAILED", "failed and is CREATE_FAILED", None),
    ],
)
def test_what_became_of_a_deployment_is_asked(stub, status, text, wait):  # noqa: F811
    """It was taken for rolled back whenever the wait ended: after an hour, or by credentials that expired."""
    lost(stub, status)
    done = stub.run("deploy", "--yes")
    assert done.returncode == 1 and f"deploy: stack latticegate {text}" in done.stderr
    assert ("was rolled back" in done.stderr) == (text == "failed and was rolled back")
    if wait:
        assert f"aws cloudformation wait {wait} --stack-name latticegate" in done.stderr
    assert ("cfn/verify" in done.stderr) == ("still under way" in text)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_deployment_that_cannot_be_asked_about_goes_on(stub, fault):  # noqa: F811
    """The wait ends by a fault of the API, in the same words as by a stack that failed; the question after it meets the fault, too."""
    lost(stub, code="Throttling")
    stub.write("answers/describe-stacks.latticegate.error", FAULTS[fault])
    done = stub.run("deploy", "--yes")
    assert done.returncode == 1 and re.search(rf"^deploy: aws cloudformation describe-stacks: .*{fault.split('#')[0]}", done.stderr, re.M)
    assert "goes on without this script" in done.stderr and "aws cloudformation wait stack-update-complete --stack-name latticegate" in done.stderr
    assert "rolled back" not in done.stderr and not [c for c in changed(stub)[changed(stub).index(fleet_deployments(stub)[0]) + 1 :]]


def test_a_deployment_that_succeeded_after_all(stub):  # noqa: F811
    lost(stub, "UPDATE_COMPLETE")
    done = stub.run("deploy", "--yes")
    assert done.returncode == 0 and "aws stopped waiting, but latticegate is UPDATE_COMPLETE" in done.stderr


def test_a_foundation_that_is_under_way(stub):  # noqa: F811
    lost(stub, "UPDATE_IN_PROGRESS", "latticegate-foundation")
    done = stub.run("deploy", "--yes")
    assert done.returncode == 1 and "stack latticegate-foundation is still under way" in done.stderr and "then run this again" in done.stderr
    assert not fleet_deployments(stub)


def test_an_explicit_nothing_is_kept(stub):  # noqa: F811
    """`LatticeIpv6PrefixListId=` means none; a look-up once came behind it and won."""
    new_fleet(stub)
    stub.write("pushed", DIGEST)
    given = deployed(stub, "LatticeIpv6PrefixListId=", "VPCLatticeServiceNetwork=sn-0123456789abcdef0")
    assert given["LatticeIpv6PrefixListId"] == "" and given["LatticePrefixListId"].startswith("pl-")


def test_what_cannot_be_built_is_said_before_anything_is_made(stub):  # noqa: F811
    new_fleet(stub)
    (stub.directory / "engine").unlink()
    assert "neither docker nor podman answers" in refused(stub)
    # With an image nothing has to be built.
    assert deployed(stub, "--image", IMAGE)["Image"] == IMAGE


def test_another_image_than_the_one_that_runs_is_said(stub):  # noqa: F811
    """It is that of these sources, also where the last one was named by --image."""
    assert "until now" not in stub.run("deploy", "--yes").stderr
    stub.fleet({"Image": IMAGE.replace("ab", "cd")})
    assert f"image: {IMAGE}; until now {IMAGE.replace('ab', 'cd')} (--image keeps it)" in stub.run("deploy", "--yes").stderr


def test_the_running_image_is_kept_before_another_is_pushed(stub):  # noqa: F811
    """The lifecycle policy of the repository expires the oldest: never the one that tasks are started from."""
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("pushed", DIGEST)
    stub.answer("batch-get-image", {"images": [{"imageManifest": "{}", "imageManifestMediaType": "x"}]})
    stub.answer("put-image", "{}")
    deployed(stub)
    kept = next(n for n, c in enumerate(stub.calls()) if "put-image" in c and "--image-tag running-" in c)
    assert kept < next(n for n, c in enumerate(stub.calls()) if c.startswith("docker push"))
