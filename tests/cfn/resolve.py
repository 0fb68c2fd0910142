"""Evaluates a CloudFormation template the way the service does, for one set of parameters.

Parameters are checked, rules asserted, conditions and intrinsic functions computed, nested stacks followed with
their outputs. What a condition leaves out is gone, and any reference to it is an error: that is the point.
Ids and ARNs are made up, stable, and in the right form, so that the result can be linted again.

Why not cloud-radar: it renders AWS::NoValue as an empty string, knows no IPv6 in Fn::Cidr and no nested stacks,
ignores Rules, and does not object to a reference to a resource that a condition removed.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cfnlint.decode import decode

REGION = "us-east-1"
ACCOUNT = "111122223333"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}

# What Ref gives, by type; {h} is 17 hexadecimal digits, {d} a number below 256, {n} the resource's name. Others get their name.
REF = {
    "AWS::EC2::EgressOnlyInternetGateway": "eigw-{h}",
    "AWS::EC2::EIP": "198.51.100.{d}",
    "AWS::EC2::Instance": "i-{h}",
    "AWS::EC2::InternetGateway": "igw-{h}",
    "AWS::EC2::NatGateway": "nat-{h}",
    "AWS::EC2::RouteTable": "rtb-{h}",
    "AWS::EC2::SecurityGroup": "sg-{h}",
    "AWS::EC2::Subnet": "subnet-{h}",
    "AWS::EC2::VPC": "vpc-{h}",
    "AWS::EC2::VPCEndpoint": "vpce-{h}",
    "AWS::EC2::VPCEndpointService": "vpce-svc-{h}",
    "AWS::ECS::Service": "arn:aws:ecs:{r}:{a}:service/{n}/{n}",
    "AWS::ECS::TaskDefinition": "arn:aws:ecs:{r}:{a}:task-definition/{n}:1",
    "AWS::ElasticLoadBalancingV2::Listener": "arn:aws:elasticloadbalancing:{r}:{a}:listener/net/{n}/{h16}/{h16}",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "arn:aws:elasticloadbalancing:{r}:{a}:loadbalancer/net/{n}/{h16}",
    "AWS::ElasticLoadBalancingV2::TargetGroup": "arn:aws:elasticloadbalancing:{r}:{a}:targetgroup/{n}/{h16}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{a}:policy/{n}",
    "AWS::Route53Resolver::ResolverEndpoint": "rslvr-in-{h}",
    "AWS::SNS::Topic": "arn:aws:sns:{r}:{a}:{n}",
    "AWS::VpcLattice::ServiceNetwork": "arn:aws:vpc-lattice:{r}:{a}:servicenetwork/sn-{h}",
    "AWS::VpcLattice::Service": "arn:aws:vpc-lattice:{r}:{a}:service/svc-{h}",
    "AWS::VpcLattice::TargetGroup": "arn:aws:vpc-lattice:{r}:{a}:targetgroup/tg-{h}",
}
# What Fn::GetAtt gives; an attribute that is not here is an error, so that a typing mistake cannot pass.
ATTRIBUTE = {
    ("AWS::EC2::EIP", "AllocationId"): "eipalloc-{h}",
    ("AWS::EC2::SecurityGroup", "GroupId"): "sg-{h}",
    ("AWS::EC2::VPC", "Ipv6CidrBlocks"): ["2600:1f18:1234:5600::/56"],
    ("AWS::EC2::VPCEndpoint", "DnsEntries"): ["Z7HUB22UULQXV:vpce-{h}-1a2b3c4d.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"],
    ("AWS::EC2::VPCEndpointService", "PrivateDnsNameConfiguration.Name"): "_{h}",
    ("AWS::EC2::VPCEndpointService", "PrivateDnsNameConfiguration.Value"): "vpce:{h}",
    ("AWS::ECR::Repository", "Arn"): "arn:aws:ecr:{r}:{a}:repository/{n}",
    ("AWS::ECR::Repository", "RepositoryUri"): "{a}.dkr.ecr.{r}.amazonaws.com/{n}",
    ("AWS::ECS::Service", "Name"): "{n}",
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "CanonicalHostedZoneID"): "Z26RNL4JYFTOTI",
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "DNSName"): "{n}-{h16}.elb.{r}.amazonaws.com",
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "LoadBalancerFullName"): "net/{n}/{h16}",
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "TargetGroupFullName"): "targetgroup/{n}/{h16}",
    ("AWS::CodeBuild::Project", "Arn"): "arn:aws:codebuild:{r}:{a}:project/{n}",
    ("AWS::IAM::Role", "Arn"): "arn:aws:iam::{a}:role{path}{n}",
    ("AWS::Lambda::Function", "Arn"): "arn:aws:lambda:{r}:{a}:function:{n}",
    ("AWS::Logs::LogGroup", "Arn"): "arn:aws:logs:{r}:{a}:log-group:{n}:*",
    ("AWS::S3::Bucket", "Arn"): "arn:aws:s3:::{n}",
    ("AWS::VpcLattice::Service", "DnsEntry.HostedZoneId"): "Z0LATTICE",
    ("AWS::VpcLattice::Service", "DnsEntry.DomainName"): "{n}.7d67968.vpc-lattice-svcs.{r}.on.aws",
    ("AWS::VpcLattice::ServiceNetworkVpcAssociation", "Id"): "snva-{h}",
}


# Attributes that give back what a property says.
PROPERTY_IS_ATTRIBUTE = {("AWS::EC2::Subnet", "CidrBlock")}


class TemplateError(Exception):
    """The template is wrong for these parameters: CloudFormation would refuse it or fail."""


class RuleFailed(Exception):
    """An assertion of the Rules section refused the parameters, with its text."""


class _NoValue:
    pass


NO_VALUE = _NoValue()


@dataclass
class Resource:
    stack: str
    name: str
    type: str
    properties: dict[str, Any]
    body: dict[str, Any]
    id: str


@dataclass
class Stack:
    name: str
    path: Path
    resources: dict[str, Resource] = field(default_factory=dict)
    children: dict[str, Stack] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    def walk(self):
        yield self
        for child in self.children.values():
            yield from child.walk()

    def all(self, kind: str) -> list[Resource]:
        return [r for s in self.walk() for r in s.resources.values() if r.type == kind]

    def one(self, kind: str) -> Resource:
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} resources of type {kind}"
        return found[0]

    def by_id(self, wanted: str) -> Resource:
        found = [r for s in self.walk() for r in s.resources.values() if r.id == wanted]
        assert len(found) == 1, f"{len(found)} resources have the id {wanted}"
        return found[0]

    def plain(self) -> dict[str, Any]:
        """This stack (without its children) as a template in which everything is computed."""
        resources = {}
        for r in self.resources.values():
            body = {"Type": r.type, "Properties": r.properties}
            for key in ("DeletionPolicy", "UpdateReplacePolicy"):
                if key in r.body:
                    body[key] = r.body[key]
            resources[r.name] = body
        return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    template, problems = decode(str(path))
    if problems:
        raise TemplateError(f"{path}: {problems}")
    return template


def resolve(path: Path, parameters: dict[str, str], name: str = "latticegate") -> Stack:
    return _Evaluator(Path(path), dict(parameters), name).run()


class _Evaluator:
    def __init__(self, path: Path, given: dict[str, Any], name: str) -> None:
        self.template = _read(path)
        self.stack = Stack(name, path)
        self.conditions: dict[str, bool] = {}
        self.done: dict[str, Resource] = {}
        self.doing: list[str] = []
        self.stack.parameters = self.check_parameters(given)

    # ---------- parameters and rules ----------
    def check_parameters(self, given: dict[str, Any]) -> dict[str, Any]:
        declared = self.template.get("Parameters", {})
        for key in given:
            if key not in declared:
                raise TemplateError(f"{self.stack.path.name}: unknown parameter {key}")
        values: dict[str, Any] = {}
        for key, spec in declared.items():
            if key in given:
                value = given[key]
            elif "Default" in spec:
                value = spec["Default"]
            else:
                raise TemplateError(f"{self.stack.path.name}: parameter {key} has no value")
            value = str(value)
            if "AllowedValues" in spec and value not in [str(v) for v in spec["AllowedValues"]]:
                raise TemplateError(f"{self.stack.path.name}: {key}={value} is not in {spec['AllowedValues']}")
            if "AllowedPattern" in spec and not re.fullmatch(spec["AllowedPattern"], value):
                raise TemplateError(f"{self.stack.path.name}: {key}={value}: {spec.get('ConstraintDescription', 'does not match ' + spec['AllowedPattern'])}")
            if spec["Type"] == "Number":
                number = float(value)
                if number < float(spec.get("MinValue", number)) or number > float(spec.get("MaxValue", number)):
                    raise TemplateError(f"{self.stack.path.name}: {key}={value} is out of range")
            elif spec["Type"] == "CommaDelimitedList":
                value = [part.strip() for part in value.split(",")]
            elif spec["Type"] != "String":
                raise TemplateError(f"{self.stack.path.name}: parameter type {spec['Type']} is not evaluated here")
            values[key] = value
        return values

    def check_rules(self) -> None:
        for name, rule in self.template.get("Rules", {}).items():
            if "RuleCondition" in rule and not self.truth(rule["RuleCondition"]):
                continue
            for assertion in rule["Assertions"]:
                if not self.truth(assertion["Assert"]):
                    raise RuleFailed(f"{name}: {assertion['AssertDescription']}")

    # ---------- the stack ----------
    def run(self) -> Stack:
        self.check_rules()
        for name in self.template.get("Conditions", {}):
            self.condition(name)
        for name, body in self.template["Resources"].items():
            if "Condition" not in body or self.condition(body["Condition"]):
                self.resource(name)
        for name, body in self.template.get("Outputs", {}).items():
            if "Condition" not in body or self.condition(body["Condition"]):
                self.stack.outputs[name] = self.value(body["Value"])
        return self.stack

    def condition(self, name: str) -> bool:
        if name not in self.conditions:
            try:
                body = self.template["Conditions"][name]
            except KeyError:
                raise TemplateError(f"{self.stack.path.name}: condition {name} does not exist") from None
            self.conditions[name] = self.truth(body)
        return self.conditions[name]

    def truth(self, body: Any) -> bool:
        answer = self.value(body)
        if not isinstance(answer, bool):
            raise TemplateError(f"{self.stack.path.name}: {body} is not a condition")
        return answer

    def resource(self, name: str) -> Resource:
        """The resource, resolved on first use, so that references come before those who refer."""
        if name in self.done:
            return self.done[name]
        here = f"{self.stack.path.name}: {name}"
        body = self.template["Resources"].get(name)
        if body is None:
            raise TemplateError(f"{here} does not exist")
        if "Condition" in body and not self.condition(body["Condition"]):
            raise TemplateError(f"{here} is left out by {body['Condition']}, but {self.doing[-1:]} refers to it")
        if name in self.doing:
            raise TemplateError(f"{here}: circular reference {self.doing}")
        depends = body.get("DependsOn", [])
        for other in [depends] if isinstance(depends, str) else depends:
            self.doing.append(name)
            self.resource(other)
            self.doing.pop()
        self.doing.append(name)
        properties = self.value(body.get("Properties", {}))
        self.doing.pop()
        found = Resource(self.stack.name, name, body["Type"], properties, body, "")
        found.id = self.fill(REF.get(found.type, "{n}"), found)
        if found.type == "AWS::CloudFormation::Stack":
            child = self.stack.path.parent / properties["TemplateURL"]
            self.stack.children[name] = resolve(child, properties.get("Parameters", {}), f"{self.stack.name}-{name}")
        self.done[name] = self.stack.resources[name] = found
        return found

    @staticmethod
    def fill(pattern: Any, resource: Resource) -> Any:
        if isinstance(pattern, list):
            return [_Evaluator.fill(p, resource) for p in pattern]
        digest = hashlib.sha256(f"{resource.stack}/{resource.name}".encode()).hexdigest()
        name = f"{resource.stack}-{resource.name}-{digest[:12].upper()}"
        if resource.type in ("AWS::S3::Bucket", "AWS::ECR::Repository"):
            name = name.lower()
        path = resource.properties.get("Path", "/")
        return pattern.format(h=digest[:17], h16=digest[:16], d=int(digest[:2], 16), n=name, r=REGION, a=ACCOUNT, path=path)

    # ---------- values ----------
    def value(self, node: Any) -> Any:
        if isinstance(node, dict):
            if len(node) == 1:
                key, argument = next(iter(node.items()))
                method = getattr(self, "fn_" + key.replace("Fn::", "").lower(), None)
                if key == "Ref" or key.startswith("Fn::") or (key == "Condition" and isinstance(argument, str)):
                    if method is None:
                        raise TemplateError(f"{self.stack.path.name}: {key} is not evaluated here")
                    return method(argument)
            resolved = {k: self.value(v) for k, v in node.items()}
            return {k: v for k, v in resolved.items() if v is not NO_VALUE}
        if isinstance(node, list):
            return [v for v in map(self.value, node) if v is not NO_VALUE]
        return node

    def fn_ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name == "AWS::StackName":
            return self.stack.name
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.stack.parameters:
            return self.stack.parameters[name]
        return self.resource(name).id

    def fn_getatt(self, argument: Any) -> Any:
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        resource = self.resource(name)
        if resource.type == "AWS::CloudFormation::Stack":
            key = attribute.removeprefix("Outputs.")
            outputs = self.stack.children[name].outputs
            if key not in outputs:
                raise TemplateError(f"{self.stack.path.name}: {name} has no output {key} with these parameters")
            return outputs[key]
        if (resource.type, attribute) in PROPERTY_IS_ATTRIBUTE:
            return resource.properties[attribute]
        try:
            return self.fill(ATTRIBUTE[resource.type, attribute], resource)
        except KeyError:
            raise TemplateError(f"{resource.type} has no known attribute {attribute}") from None

    def fn_sub(self, argument: Any) -> str:
        text, names = (argument, {}) if isinstance(argument, str) else argument
        names = {k: self.value(v) for k, v in names.items()}

        def put(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            found = names[name] if name in names else self.fn_getatt(name) if "." in name else self.fn_ref(name)
            if not isinstance(found, str):
                raise TemplateError(f"{self.stack.path.name}: Fn::Sub of {name}, which is no string: {found}")
            return found

        return re.sub(r"\$\{([^}]+)\}", put, text)

    def fn_join(self, argument: Any) -> str:
        parts = self.value(argument[1])
        if not isinstance(parts, list) or not all(isinstance(p, str) for p in parts):
            raise TemplateError(f"{self.stack.path.name}: Fn::Join of {parts}")
        return argument[0].join(parts)

    def fn_base64(self, argument: Any) -> str:
        # Left as it is, to be read.
        return self.value(argument)

    def fn_split(self, argument: Any) -> list[str]:
        return self.value(argument[1]).split(argument[0])

    def fn_select(self, argument: Any) -> Any:
        index, items = int(self.value(argument[0])), self.value(argument[1])
        if not isinstance(items, list) or index >= len(items):
            raise TemplateError(f"{self.stack.path.name}: Fn::Select {index} of {items}")
        return items[index]

    def fn_cidr(self, argument: Any) -> list[str]:
        block, count, bits = (self.value(a) for a in argument)
        network = ipaddress.ip_network(block)
        prefix = network.max_prefixlen - int(bits)
        if prefix < network.prefixlen or int(count) > 2 ** (prefix - network.prefixlen):
            raise TemplateError(f"{self.stack.path.name}: Fn::Cidr: {block} does not hold {count} /{prefix}")
        subnets = network.subnets(new_prefix=prefix)
        return [str(next(subnets)) for _ in range(int(count))]

    def fn_findinmap(self, argument: Any) -> Any:
        name, first, second = (self.value(a) for a in argument)
        return self.template["Mappings"][name][first][second]

    def fn_if(self, argument: Any) -> Any:
        return self.value(argument[1] if self.condition(argument[0]) else argument[2])

    def fn_condition(self, name: str) -> bool:
        return self.condition(name)

    def fn_equals(self, argument: Any) -> bool:
        return str(self.value(argument[0])) == str(self.value(argument[1]))

    def fn_not(self, argument: Any) -> bool:
        return not self.truth(argument[0])

    def fn_and(self, argument: Any) -> bool:
        return all([self.truth(a) for a in argument])

    def fn_or(self, argument: Any) -> bool:
        return any([self.truth(a) for a in argument])
