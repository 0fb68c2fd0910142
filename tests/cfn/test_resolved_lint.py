"""The resolved templates of all modes, linted against AWS's resource schemas.

cfn-lint on the sources looks at each condition by itself; here it sees what CloudFormation would really be sent.
"""

from __future__ import annotations

import json
import re

import endpoint_proxy
import hub
import modes
import resolve
import test_isolated
import test_load_test
import test_spoke
from cfnlint.config import ConfigMixIn
from cfnlint.decode.decode import decode_str
from cfnlint.runner import Runner
from test_security import BUILD_IN_VPC, SOURCES, pipeline

# A resolved template has literal zones, ARNs and account ids, and no parameters: that is its nature.
IGNORED = ["I", "W3010", "W3005"]


# Two stacks that differ in ids and addresses only are one case: there are hundreds.
IDS = re.compile(r"[0-9a-f]{12,17}|[0-9A-F]{12}|[0-9.]+/[0-9]+|[0-9a-f:]+/[0-9]+|us-east-1[a-f]")
MORE = {
    "EnableExec": "true", "FargateSpotShare": "50", "KmsKeyArn": modes.KEY, "AlarmEmail": "ops@example.com", "Listeners": "443", "MoreAwsEndpoints": "ssm,secretsmanager",
    "UpstreamNames": "{ a.example.com: b.example.net }", "PermissionsBoundaryArn": f"arn:aws:iam::{modes.ACCOUNT}:policy/boundary", "PrivateClientIpv6Cidr": "fd00::/8", "DeploymentAlarm": "off",
}  # fmt: skip
PIPELINE_MORE = BUILD_IN_VPC | {"KmsKeyArn": modes.KEY, "PermissionsBoundaryArn": f"arn:aws:iam::{modes.ACCOUNT}:policy/boundary", "AlarmTopicArn": f"arn:aws:sns:us-east-1:{modes.ACCOUNT}:alarms", "CpuArchitecture": "X86_64"}
ADDRESSES = {"PublicAllocationIds": "eipalloc-0123456789abcdef0,eipalloc-0123456789abcdef1,eipalloc-0123456789abcdef2", "PrivateAddresses": "192.168.1.100,192.168.1.140,192.168.1.170"}


def distinct_stacks():
    found = {}
    for mode in modes.OFFERED:
        several = [{}]
        if mode.zones == 3 and mode.vpc == "new":
            several += [MORE | ({"VPCLatticeServiceNetwork2": "sn-0123456789abcdef1"} if mode.endpoints else {})]
            several += [ADDRESSES] if mode.deployment == "BOTH" else []
        for more in several:
            for stack in resolve.resolve(modes.ROOT, mode.parameters(**more)).walk():
                if stack.path == modes.ROOT:
                    continue
                text = json.dumps(stack.plain(), sort_keys=True)
                pattern = ",".join(sorted(set(IDS.sub("#", text).replace(", ", ",").split(","))))
                found.setdefault(pattern, (text, f"{mode} {stack.name}"))
    # Of the sibling designs those that differ in more than the number of zones: all of them resolve in tests of their own.
    siblings = [(hub.ROOT, form.parameters()) for form in hub.OFFERED if form.zones == 3 and form.privatelink == "named"]
    siblings += [(hub.ROOT, hub.USUAL.parameters(MoreConnectPorts="8443,9443,10443", Ipv6="on"))]
    siblings += [(endpoint_proxy.ROOT, form.parameters()) for form in endpoint_proxy.ALL if form.zones == 2 and form.services.count(",") == 5 and (form.listeners == "443") == (form.resolver == "on")]
    siblings += [(test_isolated.ROOT, test_isolated.parameters(**test_isolated.FORMS[-1]))]
    siblings += [(test_load_test.ROOT, test_load_test.ALWAYS | form) for form in (test_load_test.FORMS[0], test_load_test.FORMS[-1])]
    siblings += [(test_spoke.ROOT, test_spoke.ALWAYS | test_spoke.FORMS[0]), (test_spoke.ROOT, test_spoke.ALWAYS | test_spoke.FORMS[3]), (test_spoke.ROOT, test_spoke.ALWAYS | test_spoke.FORMS[-3])]
    for root, given in siblings:
        for stack in resolve.resolve(root, given).walk():
            if len(stack.children):
                continue
            text = json.dumps(stack.plain(), sort_keys=True)
            pattern = ",".join(sorted(set(IDS.sub("#", text).replace(", ", ",").split(","))))
            found.setdefault(pattern, (text, f"{root.name} {stack.name}"))
    pipelines = [pipeline(source, **more) for source in SOURCES for more in ({}, PIPELINE_MORE)]
    others = [resolve.resolve(modes.CFN / name, {"KmsKeyArn": modes.KEY} if name == "foundation.yaml" else {}) for name in ("foundation.yaml", "example.yaml")]
    for stack in pipelines + others:
        text = json.dumps(stack.plain(), sort_keys=True)
        found[text] = (text, f"{stack.path.name} {stack.parameters.get('SourceProvider', '')}")
    return dict(found.values())


def test_every_resolved_stack_passes_the_schemas():
    stacks = distinct_stacks()
    problems = []
    # One for all: it reads its rules when it is made, which takes longer than most stacks.
    runner = Runner(ConfigMixIn(regions=[resolve.REGION], ignore_checks=IGNORED))
    for text, where in stacks.items():
        template, mistakes = decode_str(text)
        for match in mistakes or runner.validate_template(template):
            problems.append(f"{where}: {match.rule.id} {match.message}")
    assert not problems, "\n".join(sorted(set(problems))[:40])
    assert len(stacks) >= 90
    # And it does object, after all of them.
    wrong = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicNam": "x"}}}}
    assert [m.rule.id for m in runner.validate_template(decode_str(json.dumps(wrong))[0])] == ["E3002"]
