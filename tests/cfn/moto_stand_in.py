"""moto's server, with what its CloudFormation lacks for a smoke deployment. Says on stderr what it ignored.

A smoke test, not a proof: it shows that the real `aws cloudformation package` and `deploy` accept the templates, and
that scripts find what they look for. What each resource says is asserted on the resolved templates.

Lent to moto: nested stacks; Fn::Cidr; AWS::NoValue inside lists; outputs of stacks that
a change set made; lower-case repository names; DeletionPolicy RetainExceptOnCreate; the load balancer's Type; stand-ins
for resource types it does not know. Run: python moto_stand_in.py PORT
"""

from __future__ import annotations

import hashlib
import ipaddress
import sys
import urllib.parse
import warnings

warnings.simplefilter("ignore")

from moto.cloudformation import parsing, responses  # noqa: E402
from moto.cloudformation.models import CloudFormationBackend, cloudformation_backends  # noqa: E402
from moto.core.common_models import CloudFormationModel  # noqa: E402
from moto.ecr.models import Repository  # noqa: E402
from moto.elbv2.models import ELBv2Backend, FakeLoadBalancer, FakeTargetGroup  # noqa: E402
from moto.s3.models import s3_backends  # noqa: E402
from moto.server import main  # noqa: E402

IGNORED: set[str] = set()


def note_ignored(what: str) -> None:
    if what not in IGNORED:
        IGNORED.add(what)
        print(f"IGNORED {what}", file=sys.stderr, flush=True)


class NestedStack(CloudFormationModel):
    """AWS::CloudFormation::Stack: a child in the same backend."""

    # moto files models by the second part of their module's name.
    __module__ = "moto.cloudformation.nested"

    @staticmethod
    def cloudformation_name_type():
        return ""

    @staticmethod
    def cloudformation_type():
        return "AWS::CloudFormation::Stack"

    def __init__(self, stack):
        self.stack = stack
        self.physical_resource_id = stack.stack_id

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        properties = cloudformation_json["Properties"]
        path = urllib.parse.urlparse(properties["TemplateURL"]).path.lstrip("/")
        bucket, key = path.split("/", 1)
        template = s3_backends[account_id]["aws"].get_object(bucket, key).value.decode()
        parameters = {k: str(v) for k, v in properties.get("Parameters", {}).items()}
        backend = cloudformation_backends[account_id][region_name]
        return cls(backend.create_stack(resource_name, template, parameters))

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
        note_ignored("deletion of nested stacks")

    def get_cfn_attribute(self, attribute_name):
        for output in filter(None, self.stack.output_map.values()):
            if output.key == attribute_name.removeprefix("Outputs."):
                return output.value
        raise parsing.ValidationError(message=f"{self.stack.name} has no output {attribute_name}")


class StandIn:
    """A resource of a type that moto's CloudFormation does not know: an id, and attributes with made-up values."""

    def __init__(self, kind: str, name: str):
        self.cf_resource_type = kind
        self.physical_resource_id = name
        self.type = kind
        self.account_id = "123456789012"

    def is_created(self):
        return True

    def get_cfn_attribute(self, attribute_name):
        return f"{self.physical_resource_id}.{attribute_name}"


def stand_in_class(kind: str):
    class Made:
        @classmethod
        def has_cfn_attr(cls, attr):
            return True

        @classmethod
        def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
            note_ignored(f"type {kind}")
            return StandIn(kind, resource_name)

        @classmethod
        def delete_from_cloudformation_json(cls, *args):
            pass

    return Made


known_class = parsing.resource_class_from_type


def resource_class_from_type(kind):
    found = known_class(kind)
    return found or stand_in_class(kind)


parsing.resource_class_from_type = resource_class_from_type

clean = parsing.clean_json


def clean_json(resource_json, resources_map):
    if isinstance(resource_json, list):
        return [v for v in (clean_json(v, resources_map) for v in resource_json) if v is not None]
    if isinstance(resource_json, dict) and set(resource_json) == {"Fn::Cidr"}:
        block, count, bits = (clean_json(v, resources_map) for v in resource_json["Fn::Cidr"])
        network = ipaddress.ip_network(block)
        subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits))
        return [str(next(subnets)) for _ in range(int(count))]
    if isinstance(resource_json, dict) and set(resource_json) == {"Fn::GetAtt"}:
        name, attribute = resource_json["Fn::GetAtt"]
        if attribute == "Ipv6CidrBlocks":
            return ["2600:1f18:1234:5600::/56"]
        try:
            return clean(resource_json, resources_map)
        except parsing.ValidationError:
            resource = resources_map[name]
            note_ignored(f"attribute {attribute} of {resource.cf_resource_type}")
            return f"{resource.physical_resource_id}.{attribute}"
    return clean(resource_json, resources_map)


parsing.clean_json = clean_json

delete_resources = parsing.ResourceMap.delete


def delete_but_what_is_retained(self):
    for resource in self._resource_json_map.values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Retain"
    delete_resources(self)


parsing.ResourceMap.delete = delete_but_what_is_retained

execute_change_set = CloudFormationBackend.execute_change_set


def execute_then_read_outputs(self, change_set_name, stack_name=None):
    execute_change_set(self, change_set_name, stack_name)
    for stack in self.stacks.values():
        if stack.status.endswith("_COMPLETE"):
            stack._parse_template()
            stack.output_map = stack._create_output_map()


CloudFormationBackend.execute_change_set = execute_then_read_outputs



def template_at(template_url, account_id, partition):
    """moto reads templates from AWS's host names only, not from its own."""
    bucket, key = urllib.parse.urlparse(template_url).path.lstrip("/").split("/", 1)
    return s3_backends[account_id][partition].get_object(bucket, key).value.decode()


responses.get_stack_from_s3_url = template_at

create_repository = Repository.create_from_cloudformation_json.__func__
Repository.create_from_cloudformation_json = classmethod(
    lambda cls, resource_name, *args, **kwargs: create_repository(cls, resource_name.lower(), *args, **kwargs)
)

create_load_balancer = ELBv2Backend.create_load_balancer
ELBv2Backend.create_load_balancer = lambda self, name, *args, **kwargs: create_load_balancer(
    self, name, *args, **(kwargs | {"loadbalancer_type": "network"})
)

balancer_attribute = FakeLoadBalancer.get_cfn_attribute


def get_balancer_attribute(self, attribute_name):
    made_up = {"LoadBalancerFullName": f"net/{self.name}/50dc6c495c0c9188", "CanonicalHostedZoneID": "Z26RNL4JYFTOTI"}
    return made_up.get(attribute_name) or balancer_attribute(self, attribute_name)


FakeLoadBalancer.get_cfn_attribute = get_balancer_attribute
FakeTargetGroup.get_cfn_attribute = lambda self, name: "targetgroup/" + self.name + "/" + hashlib.sha256(self.name.encode()).hexdigest()[:16]

parsing.get_model_list.cache_clear()
parsing.get_model_map.cache_clear()
note_ignored("attributes of target groups, listeners and load balancers")

if __name__ == "__main__":
    main(["-p", sys.argv[1]])
