"""cfn/parameters.jq: what it reads of the root templates, and that cfn/deploy refuses early what CloudFormation, or a part of the fleet, would
refuse late."""

from __future__ import annotations

import json
import re
import subprocess

import endpoint_proxy
import hub
import modes
import pytest
import resolve
import test_isolated
import test_options
import test_spoke

ROOTS = [modes.ROOT, hub.ROOT, endpoint_proxy.ROOT, test_isolated.ROOT, test_spoke.ROOT]
every_root = pytest.mark.parametrize("root", ROOTS, ids=lambda p: p.name)


def jq(filter, root=modes.ROOT, **files):
    given = [word for name, text in files.items() for word in ("--arg", name, text)]
    return subprocess.run(["jq", "-n", "-r", "-L", modes.CFN, "--rawfile", "template", root, *given, f'include "parameters"; {filter}'], capture_output=True, text=True, check=True, timeout=60).stdout


def refusals(parameters, together=True, root=modes.ROOT):
    """What is said against these parameters, as cfn/deploy asks."""
    said = jq(f"$values | refusals($template; {str(together).lower()})", root=root, values=lines(parameters))
    return [line.split("\t") for line in said.splitlines()]


def lines(parameters):
    return "\n".join(f"{k}={v}" for k, v in parameters.items())


def all_refusals(root, sets):
    """The same for many sets of parameters at once: jq starts slowly, and reads the template anew each time."""
    said = jq("($template | specification) as $spec | ($template | rules) as $rules | $sets | fromjson[] | [refusals_by($spec; $rules; true)] | tojson", root=root, sets=json.dumps([lines(p) for p in sets]))
    return [[line.split("\t") for line in json.loads(one)] for one in said.splitlines()]


# ---------- the template is the source ----------
@every_root
def test_the_constraints_are_the_templates(root):
    read = json.loads(jq("$template | specification | tojson", root))
    plain = lambda v: [str(x) for x in v] if isinstance(v, list) else str(v)  # noqa: E731
    wanted = {
        name: {k: plain(v) for k, v in spec.items() if k in ("Type", "Default", "AllowedPattern", "AllowedValues", "ConstraintDescription", "MinValue", "MaxValue")}
        for name, spec in resolve.decode(str(root))[0]["Parameters"].items()
    }
    assert read == wanted and len(read) > (60 if root == modes.ROOT else 14)


@every_root
def test_the_rules_are_the_templates(root):
    template = resolve.decode(str(root))[0]
    read = json.loads(jq("$template | rules | tojson", root))
    wanted = [(a["AssertDescription"]) for rule in template["Rules"].values() for a in rule["Assertions"]]
    assert [r["say"] for r in read] == wanted and len(read) >= (13 if root == modes.ROOT else 1)

    def same(a, b):
        """The tree of jq and the one of the YAML parser."""
        if isinstance(b, dict):
            ((name, arguments),) = b.items()
            arguments = arguments if isinstance(arguments, list) else [arguments]
            return a[0] == name.replace("Fn::", "") and len(a) == len(arguments) + 1 and all(map(same, a[1:], arguments))
        return a == str(b)

    given = [(rule.get("RuleCondition"), a["Assert"]) for rule in template["Rules"].values() for a in rule["Assertions"]]
    for r, (when, then) in zip(read, given, strict=True):
        assert same(r["assert"], then) and (when is None) == (r["when"] is None) and (when is None or same(r["when"], when)), r


@every_root
def test_patterns_mean_the_same_here_and_there(root):
    """Whole values, no dialect: jq, Python and CloudFormation (Java) read them alike."""
    for name, spec in resolve.decode(str(root))[0]["Parameters"].items():
        pattern = spec.get("AllowedPattern", "^$")
        depth, parts, part = 0, [], ""
        for character in pattern.replace("\\|", "§").replace("\\(", "<").replace("\\)", ">"):
            depth += (character == "(") - (character == ")")
            if character == "|" and depth == 0:
                parts, part = [*parts, part], ""
            else:
                part += character
        assert all(p.startswith("^") and p.endswith("$") for p in [*parts, part]), name
        assert not re.search(r"\(\?|\\[dwsDWSb]" , pattern.replace("\\d", "")), name


# ---------- every mode passes ----------
def test_no_mode_is_refused():
    said = all_refusals(modes.ROOT, [mode.parameters() for mode in modes.OFFERED])
    assert {str(mode): s for mode, s in zip(modes.OFFERED, said, strict=True) if s} == {}


SIBLINGS = [(hub.ROOT, form.parameters()) for form in hub.OFFERED[::7]] + [(endpoint_proxy.ROOT, form.parameters()) for form in endpoint_proxy.ALL[::9]]
SIBLINGS += [(test_isolated.ROOT, test_isolated.parameters(**form)) for form in test_isolated.FORMS[::7]]
SIBLINGS += [(test_spoke.ROOT, test_spoke.ALWAYS | form) for form in test_spoke.FORMS[::7]]


@pytest.mark.parametrize("root", sorted({root for root, _ in SIBLINGS}), ids=lambda p: p.name)
def test_no_form_of_a_sibling_is_refused(root):
    forms = [given for r, given in SIBLINGS if r == root]
    assert [(given, said) for given, said in zip(forms, all_refusals(root, forms), strict=True) if said] == []


@pytest.mark.parametrize(
    "root, usual, given, text",
    [
        (hub.ROOT, hub.USUAL.parameters(), {"VpcCidr": "10.0.0.0/25"}, "VpcCidr=10.0.0.0/25 does not hold its subnets"),
        (hub.ROOT, hub.USUAL.parameters(), {"PublicSubnet1Cidr": "192.168.1.96/27"}, "PublicSubnet1Cidr and PrivateSubnet1Cidr overlap"),
        (hub.ROOT, hub.USUAL.parameters(), {"PrivateAddresses": "192.168.1.100"}, "PrivateAddresses has 1 for 3 zones"),
        (hub.ROOT, hub.USUAL.parameters(), {"DeniedNetworks": "198.51.100.0/40"}, "198.51.100.0/40 is no IPv4 network"),
        (hub.ROOT, hub.USUAL.parameters(), {"MoreConnectPorts": "8443,70000"}, "MoreConnectPorts: 70000 is no port beside 443"),
        # Each is a rule of a security group, and AWS refuses the same rule twice.
        (hub.ROOT, hub.USUAL.parameters(), {"MoreConnectPorts": "8443,8443"}, "MoreConnectPorts names 8443 twice"),
        (hub.ROOT, hub.USUAL.parameters(), {"MoreConnectPorts": "80"}, "MoreConnectPorts: 80 is for http://"),
        (hub.ROOT, hub.USUAL.parameters(), {"PrivateClientCidr1": "172.16.0.0/12"}, "PrivateClientCidr1 ... name 172.16.0.0/12 twice"),
        (endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(), {"PrivateClientCidr3": "10.1.0.0/8"}, "PrivateClientCidr1 ... name 10.1"),
        (test_spoke.ROOT, test_spoke.ALWAYS, {"ClientCidr2": "10.20.0.0/16"}, "ClientCidr1 ... name 10.20.0.0/16 twice"),
        (endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(), {"Services": "ssmmessages", "EnableExec": "true"}, "Services names ssmmessages, which"),
        (hub.ROOT, hub.USUAL.parameters(), {"MinTasks": "10"}, "MinTasks=10 is above MaxTasks=9"),
        (hub.ROOT, hub.USUAL.parameters(), {"PrivateLink": "off"}, "which is not made"),
        (endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(), {"EndpointVpcCidr": "10.1.0.0/23"}, "of another range than VpcCidr"),
        (endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(), {"VpcCidr": "192.168.0.0/16", "EndpointVpcCidr": "192.168.2.0/23"}, "EndpointVpcCidr=192.168.2.0/23 overlaps VpcCidr"),
        (endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(), {"Services": "sqs,sns,sqs"}, "Services names sqs twice"),
        (endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(), {"Services": "sqs,logs"}, "Services names logs, which"),
        (test_isolated.ROOT, test_isolated.parameters(), {"VpcCidr": "10.0.0.0/25"}, "does not hold its subnets"),
        (test_isolated.ROOT, test_isolated.parameters(), {"AvailabilityZone2": "us-east-1a"}, "a zone is named twice"),
        (test_spoke.ROOT, test_spoke.ALWAYS, {"ClientCidr1": "10.20.0.0/40"}, "10.20.0.0/40 is no IPv4 network"),
    ],
)
def test_what_a_sibling_refuses_before_anything_is_made(root, usual, given, text):
    said = refusals(usual | given, root=root)
    assert said and text in said[0][0] and (said[0][1] or "not made" in text)


CHOICES = [part for choice in test_options.TOGETHER for part in choice if part and "addresses" not in part and "AwsEndpoints" not in part]


def test_no_choice_is_refused():
    cases = [(mode, given) for given in CHOICES for mode in (test_options.BOTH, test_options.EXISTING, test_options.LINK)]
    said = all_refusals(modes.ROOT, [mode.parameters(**given) for mode, given in cases])
    assert [(str(mode), given, s) for (mode, given), s in zip(cases, said, strict=True) if s] == []
    # It does object, in the midst of others.
    good, bad = modes.OFFERED[0].parameters(), modes.OFFERED[0].parameters(MinTasks="10")
    assert [bool(s) for s in all_refusals(modes.ROOT, [good, bad, good])] == [False, True, False]


# ---------- what the template refuses ----------
def parameters_of(test):
    (mark,) = [m for m in test.pytestmark if m.name == "parametrize"]
    return [p[0] if isinstance(p, tuple) else p for p in mark.args[1]]


@pytest.mark.parametrize("given", parameters_of(test_options.test_rules_say_what_to_do), ids=str)
def test_rules_are_judged_before_anything_is_made(given):
    with pytest.raises(resolve.RuleFailed) as refused:
        test_options.fleet(**given)
    assert refused.value.args[0].split(": ", 1)[1] in [r[0] for r in refusals(test_options.BOTH.parameters(**given))]


@pytest.mark.parametrize("given", [p for p in parameters_of(test_options.test_wrong_parameters_are_refused) if "Nonsense" not in p], ids=str)
def test_values_are_judged_before_anything_is_made(given):
    # Whatever else is wrong or not looked up yet.
    for together in (False, True):
        ((what, help),) = refusals(given, together) if not together else refusals(test_options.BOTH.parameters(**given))
        ((name, value),) = given.items()
        assert what == f"{name}={value}" and help


@pytest.mark.parametrize(
    "given, text",
    [
        ({"PublicClientCidr1": "203.0.113.7"}, "one address being x.x.x.x/32"),
        ({"PublicClientCidr1": "203.0.113.999/32"}, "each x up to 255"),
        ({"ExistingVpcCidrs": "10.0.0.0/16,10.1.0.0/40"}, "n up to 32"),
        ({"VpcCidr": "192.168.300.0/24"}, "each x up to 255"),
        ({"PrivateAddresses": "10.0.0.256"}, "each x up to 255"),
        ({"MinTasks": "three"}, "a number from 1"),
        ({"ConnectionsTarget": "50001"}, "a number from 0 to 50000"),
        ({"ExistingVpcCidrs": ",".join(f"10.{i}.0.0/16" for i in range(6))}, "one to five"),
        ({"UpstreamNames": "{ " + ", ".join(f"service-{i}.example.com: endpoint-{i}.example.com" for i in range(100)) + " }"}, "4 096"),
        ({"ExistingPrivateSubnetIds": "subnet-1, subnet-2"}, "without spaces"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_values_that_only_a_part_or_aws_would_refuse(given, text):
    ((what, help),) = refusals(given, together=False)
    assert text in help and next(iter(given)) in what


NEW, ENDPOINTS = test_options.BOTH, test_options.ENDPOINTS


@pytest.mark.parametrize(
    "mode, given, text",
    [
        (ENDPOINTS, {"VpcCidr": "10.0.0.0/16", "EndpointVpcCidr": "192.168.2.0/23"}, "of another range than VpcCidr=10.0.0.0/16"),
        # The first number is the same, the range is not: AWS refuses it, which the template cannot know.
        (ENDPOINTS, {"VpcCidr": "172.200.0.0/16", "EndpointVpcCidr": "172.16.0.0/23"}, "of another range"),
        (ENDPOINTS, {"VpcCidr": "192.168.0.0/16", "EndpointVpcCidr": "192.168.2.0/23"}, "EndpointVpcCidr=192.168.2.0/23 overlaps VpcCidr=192.168.0.0/16"),
        (ENDPOINTS, {"EndpointVpcCidr": "100.64.0.0/24"}, "EndpointVpcCidr=100.64.0.0/24 does not hold its subnets"),
        (NEW, {"VpcCidr": "10.0.0.0/25"}, "VpcCidr=10.0.0.0/25 does not hold its subnets"),
        (NEW, {"VpcCidr": "10.20.0.0/24", "PublicSubnet1Cidr": "192.168.1.0/27"}, "PublicSubnet1Cidr=192.168.1.0/27 is not in VpcCidr"),
        (NEW, {"PublicSubnet1Cidr": "192.168.1.96/27"}, "PublicSubnet1Cidr and PrivateSubnet1Cidr overlap"),
        (NEW, {"PublicAllocationIds": "eipalloc-01,eipalloc-02"}, "PublicAllocationIds has 2 for 3 zones"),
        (NEW, {"PrivateAddresses": "192.168.1.100"}, "PrivateAddresses has 1 for 3 zones"),
        (NEW, {"PrivateAddresses": "192.168.1.100,192.168.1.140,192.168.1.130"}, "192.168.1.130 is no free address of PrivateSubnet3Cidr (192.168.1.160/27)"),
        (NEW, {"PrivateAddresses": "192.168.1.99,192.168.1.140,192.168.1.170"}, "192.168.1.99 is no free address of PrivateSubnet1Cidr"),
        (NEW, {"PublicClientCidr2": "0.0.0.0/0"}, "PublicClientCidr1 ... name 0.0.0.0/0 twice"),
        (NEW, {"MinTasks": "10"}, "MinTasks=10 is above MaxTasks=9"),
        (NEW, {"AvailabilityZone2": "us-east-1a"}, "a zone is named twice"),
        (test_options.EXISTING_VPC, {"AwsEndpoints": "create:s3"}, "omits ecr.api, ecr.dkr, logs, so AwsServicesEgressCidr must say"),
        (test_options.EXISTING_VPC, {"AwsEndpoints": "create:ecr.api,ecr.dkr,logs,s3", "EnableExec": "true"}, "omits ssmmessages, so AwsServicesEgressCidr must say"),
    ],
)
def test_what_only_a_part_or_aws_would_refuse(mode, given, text):
    said = refusals(mode.parameters(**given))
    assert said and text in said[0][0] and said[0][1]


@pytest.mark.parametrize("zones, count", [(1, 2), (2, 1), (2, 3), (3, 1), (3, 2)])
def test_addresses_that_the_template_refuses(zones, count):
    mode = modes.Mode("BOTH", zones, "new", "ASSOCIATION", "off")
    for name, address in (("PublicAllocationIds", "eipalloc-0{}"), ("PrivateAddresses", "192.168.1.10{}")):
        ((what, _), *_) = refusals(mode.parameters(**{name: ",".join(address.format(i) for i in range(count))}))
        assert what.startswith(f"{name} has {count} for {zones} zones")


@pytest.mark.parametrize("given", [{"VpcCidr": "10.0.0.0/16", "EndpointVpcCidr": "10.1.0.0/23"}, {"VpcCidr": "172.20.0.0/16", "EndpointVpcCidr": "100.64.8.0/23"}, {"VpcCidr": "10.20.0.0/24"}, {"PrivateAddresses": "192.168.1.100,192.168.1.140,192.168.1.170"}], ids=str)
def test_what_fits_is_not_refused(given):
    assert refusals(ENDPOINTS.parameters(**given)) == []
    assert resolve.resolve(modes.ROOT, ENDPOINTS.parameters(**given))


def test_subnets_are_computed_as_the_template_does():
    """By an overlap with each of them."""
    for mode in (NEW, ENDPOINTS):
        for name, cidr in test_options.subnets(resolve.resolve(modes.ROOT, mode.parameters())).items():
            other = "PrivateSubnet1" if name != "PrivateSubnet1" else "PublicSubnet1"
            said = refusals(mode.parameters(**{f"{other}Cidr": cidr}))
            assert f"{name}Cidr" in said[0][0] and f"overlap: " in said[0][0], said
