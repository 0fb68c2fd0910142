"""CloudFormation's own limits on a template, measured on what it is really sent."""

from __future__ import annotations

import json

import modes
import pytest
import resolve
from awscli.customizations.cloudformation.yamlhelper import yaml_dump, yaml_parse

# A template that is passed by itself, not by S3: cfn/deploy and the pipeline do that with the packaged root.
BODY = 51_200
TEMPLATES = sorted(modes.CFN.glob("*.yaml"))


def packaged(path):
    """As `aws cloudformation package` writes it: without comments, in block style, with the URLs of the parts."""
    template = yaml_parse(path.read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::CloudFormation::Stack":
            resource["Properties"]["TemplateURL"] = "https://s3.ap-southeast-1.amazonaws.com/a-foundation-artifactbucket-with-a-long-name-0123456789ab/templates/0123456789abcdef0123456789abcdef.template"
    return yaml_dump(template)


def test_all_templates_are_looked_at():
    assert {"root.yaml", "pipeline.yaml", "proxy.yaml", "network.yaml"} <= {p.name for p in TEMPLATES}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.name)
def test_size_and_counts(path):
    template = resolve.decode(str(path))[0]
    has_parts = any(r["Type"] == "AWS::CloudFormation::Stack" for r in template["Resources"].values())
    for text in [path.read_text()] + [packaged(path)] * has_parts:
        assert len(text.encode()) < BODY
    assert len(template.get("Parameters", {})) <= 200
    assert len(template.get("Outputs", {})) <= 200
    assert len(template["Resources"]) <= 500
    assert len(template.get("Description", "")) <= 1024
    for name, parameter in template.get("Parameters", {}).items():
        assert len(parameter.get("Description", "")) <= 4000, name


def test_packaging_is_what_is_measured():
    root = packaged(modes.ROOT)
    assert "0123456789abcdef.template" in root and "# ----------" not in root
    assert len(root.encode()) > len(json.dumps(resolve.decode(str(modes.ROOT))[0]["Parameters"]))
