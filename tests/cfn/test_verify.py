"""cfn/verify, cfn/call and cfn/names against a stub account."""

from __future__ import annotations

import pytest
from stub import stub  # noqa: F401

NAMES = (
    "{ a-0.7d67968.vpc-lattice-svcs.us-east-1.on.aws: vpce-1-snsa-a.hash.vpc-lattice-svcs.us-east-1.on.aws, "
    "b-0.7d67968.vpc-lattice-svcs.us-east-1.on.aws: vpce-1-snsa-b.hash.vpc-lattice-svcs.us-east-1.on.aws, "
    "bills.example.com: vpce-2-snsa-c.hash.vpc-lattice-svcs.us-east-1.on.aws, "
    "c-0.7d67968.vpc-lattice-svcs.us-east-1.on.aws: vpce-2-snsa-c.hash.vpc-lattice-svcs.us-east-1.on.aws, "
    "orders.example.com: vpce-1-snsa-a.hash.vpc-lattice-svcs.us-east-1.on.aws }"
)


def wrong(stub, *arguments, **env):  # noqa: F811
    done = stub.run("verify", *arguments, **env)
    assert done.returncode == 1 and "WRONG" in done.stdout, done.stdout + done.stderr
    return done.stdout[done.stdout.index("WRONG") :]


def well(stub, *arguments):  # noqa: F811
    done = stub.run("verify", *arguments)
    assert done.returncode == 0 and "all is well" in done.stdout and "WRONG" not in done.stdout, done.stdout + done.stderr
    return done.stdout


def test_what_is_well_is_said_part_by_part(stub):  # noqa: F811
    said = well(stub)
    for part in ("stack latticegate", "part ", "3 of 3 tasks", "Fargate On-Demand vCPU resource count is 100", "1 targets healthy", "load balancer a (internet-facing) is active", "association snva-1 is ACTIVE", "access list s3://lists"):
        assert part in said


def test_the_quotas_of_both_kinds_of_tasks(stub):  # noqa: F811
    stub.fleet({"FargateSpotShare": "50", "OnDemandBase": "1"})
    stub.answer("get-metric-statistics", {"Datapoints": [{"Maximum": 4.0}]})
    said = well(stub)
    assert "Fargate On-Demand vCPU resource count is 100, other tasks use 2; a rolling update needs 4" in said
    assert "Fargate Spot vCPU resource count is 100, other tasks use 3; a rolling update needs 2" in said
    stub.answer("get-service-quota", "3.0")
    assert "Fargate Spot vCPU resource count is 3 in this region, other tasks use 3; 1 tasks of 1 vCPU need 2" in wrong(stub)


# ---------- names, by endpoints ----------
def test_names_are_those_of_every_endpoint_and_of_every_page(stub):  # noqa: F811
    stub.with_endpoints("")
    done = stub.run("names")
    assert (done.returncode, done.stdout) == (0, NAMES + "\n")
    # What the program takes: flow style, one line, no quotes needed.
    assert ("ec2 describe-vpc-endpoint-associations --vpc-endpoint-ids vpce-1 vpce-2 --output json") in stub.calls()


def test_no_names_without_endpoints_or_services(stub):  # noqa: F811
    done = stub.run("names")
    assert done.returncode == 1 and "no service-network endpoints" in done.stderr
    stub.with_endpoints("")
    stub.answer("describe-vpc-endpoint-associations", {"VpcEndpointAssociations": []})
    (stub.directory / "answers/describe-vpc-endpoint-associations.once").unlink()
    done = stub.run("names")
    assert done.returncode == 1 and "no service is associated" in done.stderr and done.stdout == ""


def test_more_names_than_the_parameter_holds_are_said(stub):  # noqa: F811
    """CloudFormation would say so, of a value of 4 097 characters."""
    stub.with_endpoints("")
    arn = "arn:aws:vpc-lattice:us-east-1:1:service/svc-{}".format
    network = "arn:aws:vpc-lattice:us-east-1:1:servicenetwork/sn-1"
    stub.answer("describe-vpc-endpoint-associations", {"VpcEndpointAssociations": [{"ServiceNetworkArn": network, "AssociatedResourceArn": arn(i), "DnsEntry": {"DnsName": f"vpce-0123-snsa-{i}.hash.vpc-lattice-svcs.us-east-1.on.aws"}} for i in range(60)]})
    (stub.directory / "answers/describe-vpc-endpoint-associations.once").unlink()
    (stub.directory / "answers/list-service-network-service-associations.once").unlink()
    stub.answer("list-service-network-service-associations", {"items": [{"serviceArn": arn(i), "customDomainName": f"service-{i}.example.com"} for i in range(60)]})
    done = stub.run("names")
    assert done.returncode == 1 and done.stdout == ""
    assert "names: 60 names are too many for the parameter UpstreamNames" in done.stderr and "make private zones" in done.stderr


@pytest.mark.parametrize("has, good", [(NAMES, True), ("", False), (NAMES.replace("bills", "old"), False)])
def test_verify_compares_the_names_in_endpoint_mode(stub, has, good):  # noqa: F811
    """It once said "all is well" of a fleet whose every name led to link-local addresses."""
    stub.with_endpoints(has)
    if good:
        said = well(stub)
        assert "endpoint vpce-1 is available" in said and "endpoint vpce-2 is available" in said and "names lead to the endpoints" in said
    else:
        assert 'names=$(cfn/names --stack latticegate) && cfn/deploy --stack latticegate UpstreamNames="$names"' in wrong(stub)


# ---------- what looks well and is not ----------
def test_denied_is_not_none(stub):  # noqa: F811
    stub.error("describe-services", "AccessDeniedException")
    said = wrong(stub)
    assert "access denied to ecs describe-services" in said and "of 0 tasks" not in said
    # The rest is looked at all the same.
    assert "association snva-1 is ACTIVE" in said


@pytest.mark.parametrize("exclusion, mode, good", [(None, "PUBLIC", False), ("allow-egress", "PUBLIC", False), ("allow-bidirectional", "PUBLIC", True), (None, "PRIVATE", True)])
def test_an_account_that_blocks_internet_gateways(stub, exclusion, mode, good):  # noqa: F811
    stub.fleet({"DeploymentMode": mode})
    stub.answer("describe-vpc-block-public-access-options", "block-bidirectional")
    here = {"ResourceArn": "arn:aws:ec2:us-east-1:1:vpc/vpc-1", "InternetGatewayExclusionMode": exclusion, "State": "create-complete"}
    elsewhere = {"ResourceArn": "arn:aws:ec2:us-east-1:1:vpc/vpc-2", "InternetGatewayExclusionMode": "allow-bidirectional", "State": "create-complete"}
    stub.answer("describe-vpc-block-public-access-exclusions", {"VpcBlockPublicAccessExclusions": [elsewhere] + ([here] if exclusion else [])})
    if good:
        well(stub)
    else:
        assert "create-vpc-block-public-access-exclusion --vpc-id vpc-1" in wrong(stub)


def test_an_old_cli_that_knows_no_such_command_is_no_fault_of_the_fleet(stub):  # noqa: F811
    stub.write("answers/describe-vpc-block-public-access-options.error", "aws: error: argument operation: Invalid choice\n")
    assert "?     VPC Block Public Access cannot be seen" in well(stub)


def test_quota_balancer_and_role(stub):  # noqa: F811
    stub.answer("get-service-quota", "4.0")
    assert "need 6 while an update replaces them" in wrong(stub)
    stub.error("get-service-quota", "AccessDeniedException")
    assert "must be 6 or more" in well(stub)
    stub.answer("describe-load-balancers", {"LoadBalancers": [{"LoadBalancerName": "a", "Scheme": "internal", "State": {"Code": "provisioning"}}]})
    assert "load balancer a (internal) is provisioning" in wrong(stub)
    stub.account()
    stub.fleet({}, RoleARN="arn:aws:iam::1:role/gone")
    stub.error("get-role", "NoSuchEntity", about="gone")
    assert "which no longer exists" in wrong(stub)


def test_tasks_that_the_quota_keeps_out(stub):  # noqa: F811
    stub.answer("describe-services", {"services": [{"runningCount": 2, "desiredCount": 3, "events": [{"message": "(service x) was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently."}]}]})
    assert "help: the quota below" in wrong(stub)


# ---------- calling ----------
def called(stub, remote, code=0, text="HTTP/1.1 200 OK\n\nhello"):  # noqa: F811
    stub.write("curl-says", f"{text}\n{remote}")
    stub.write("curl-exits", str(code))


@pytest.mark.parametrize("remote, family", [("2600:1f18::1 2001:db8::2", "by IPv6, to 2600:1f18::1"), ("192.0.2.1 198.51.100.2", "by IPv4, to 192.0.2.1")])
def test_call_says_which_family_it_went_by(stub, remote, family):  # noqa: F811
    called(stub, remote)
    done = stub.run("call", "https://orders.example.com/")
    assert done.returncode == 0 and family in done.stderr
    # What the service answered is all that is on standard output.
    assert done.stdout == "HTTP/1.1 200 OK\n\nhello\n"
    assert f"({family})" in well(stub, "--url", "https://orders.example.com/")


def test_a_denied_caller_learns_which_address_to_allow(stub):  # noqa: F811
    called(stub, "2600:1f18::1 2001:db8::2", 35, "")
    done = stub.run("call", "https://orders.example.com/")
    assert done.returncode == 1 and "by IPv6 was refused" in done.stderr and "curl -6 https://checkip" in done.stderr and "-4 tries the other family" in done.stderr
    assert "by IPv6 was refused" in wrong(stub, "--url", "https://orders.example.com/")


def test_the_internal_load_balancer_out_of_reach_is_no_verdict(stub):  # noqa: F811
    outputs = {k: v for k, v in stub.FLEET.items() if k != "PublicName"} | {"PrivateName": "internal", "VpcAssociationId": "snva-1"}
    stub.fleet({"DeploymentMode": "PRIVATE"}, outputs)
    called(stub, " ", 28, "")
    assert "is not reached from here" in well(stub, "--url", "https://orders.example.com/")
    # A public one that does not answer is.
    stub.fleet()
    assert "no connection to public.elb" in wrong(stub, "--url", "https://orders.example.com/")
