"""The evaluator itself: it must object to what CloudFormation objects to."""

from __future__ import annotations

import textwrap

import pytest
import resolve


def run(tmp_path, text, **parameters):
    path = tmp_path / "t.yaml"
    resolve._read.cache_clear()
    path.write_text(textwrap.dedent(text))
    return resolve.resolve(path, parameters)


HEAD = """
Parameters: { Mode: { Type: String, Default: a, AllowedValues: [a, b] } }
Conditions: { OnlyB: !Equals [!Ref Mode, b] }
"""


@pytest.mark.parametrize(
    "reference",
    [
        "!Ref Gone",
        "!GetAtt Gone.Arn",
        "!Sub '${Gone}-x'",
        "!Sub '${Gone.Arn}-x'",
        "!Join ['', [!Ref Gone]]",
    ],
)
def test_a_reference_to_what_a_condition_leaves_out(tmp_path, reference):
    text = HEAD + f"""
Resources:
  Gone: {{ Type: AWS::S3::Bucket, Condition: OnlyB }}
  User: {{ Type: AWS::SNS::Topic, Properties: {{ TopicName: {reference} }} }}
"""
    with pytest.raises(resolve.TemplateError, match="Gone is left out by OnlyB"):
        run(tmp_path, text)
    assert run(tmp_path, text, Mode="b").one("AWS::S3::Bucket")


def test_a_dependency_on_what_a_condition_leaves_out(tmp_path):
    text = HEAD + """
Resources:
  Gone: { Type: AWS::S3::Bucket, Condition: OnlyB }
  User: { Type: AWS::SNS::Topic, DependsOn: Gone }
"""
    with pytest.raises(resolve.TemplateError, match="left out"):
        run(tmp_path, text)


def test_a_branch_not_taken_is_not_looked_at(tmp_path):
    text = HEAD + """
Resources:
  Gone: { Type: AWS::S3::Bucket, Condition: OnlyB }
  User: { Type: AWS::SNS::Topic, Properties: { TopicName: !If [OnlyB, !Ref Gone, plain], Tags: !If [OnlyB, [], !Ref 'AWS::NoValue'] } }
"""
    assert run(tmp_path, text).one("AWS::SNS::Topic").properties == {"TopicName": "plain"}


def test_an_output_that_a_nested_stack_does_not_have(tmp_path):
    (tmp_path / "child.yaml").write_text("""
Parameters: { Given: { Type: String } }
Conditions: { Full: !Equals [!Ref Given, full] }
Resources: { Bucket: { Type: AWS::S3::Bucket } }
Outputs: { Name: { Condition: Full, Value: !Ref Bucket } }
""")
    text = HEAD + """
Resources:
  Child: { Type: AWS::CloudFormation::Stack, Properties: { TemplateURL: child.yaml, Parameters: { Given: !If [OnlyB, full, empty] } } }
Outputs: { Name: { Value: !GetAtt Child.Outputs.Name } }
"""
    with pytest.raises(resolve.TemplateError, match="no output Name"):
        run(tmp_path, text)
    assert run(tmp_path, text, Mode="b").outputs["Name"].startswith("latticegate-child-bucket")


@pytest.mark.parametrize(
    "body, text",
    [
        ("Resources: { A: { Type: 'AWS::SNS::Topic', Properties: { TopicName: !Ref B } }, B: { Type: 'AWS::SNS::Topic', Properties: { TopicName: !Ref A } } }", "circular"),
        ("Resources: { A: { Type: 'AWS::SNS::Topic', Properties: { TopicName: !Ref Nobody } } }", "does not exist"),
        ("Resources: { A: { Type: 'AWS::SNS::Topic', Properties: { TopicName: !GetAtt A2.Nonsense } }, A2: { Type: 'AWS::SNS::Topic' } }", "no known attribute"),
        ("Resources: { A: { Type: 'AWS::SNS::Topic', Properties: { TopicName: !Select [2, [a, b]] } } }", "Fn::Select 2"),
        ("Resources: { A: { Type: 'AWS::SNS::Topic', Condition: Nothing } }", "condition Nothing does not exist"),
        ("Parameters: { P: { Type: String } }\nResources: {}", "P has no value"),
        ("Resources: { A: { Type: 'AWS::SNS::Topic', Properties: { TopicName: !ImportValue x } } }", "not evaluated here"),
    ],
)
def test_objections(tmp_path, body, text):
    with pytest.raises(resolve.TemplateError, match=text):
        run(tmp_path, body)


def test_functions(tmp_path):
    stack = run(tmp_path, """
Resources:
  V: { Type: AWS::EC2::VPC }
  T:
    Type: AWS::SNS::Topic
    Properties:
      Cidr: !Select [8, !Cidr [!Select [0, !GetAtt V.Ipv6CidrBlocks], 9, 64]]
      Cidr4: !Select [1, !Cidr [10.0.0.0/24, 2, 5]]
      Sub: !Sub ['${A}/${AWS::Region}/${!Literal}', { A: !Join ['-', [x, y]] }]
      Split: !Select [1, !Split [',', 'a,b']]
""")
    assert stack.one("AWS::SNS::Topic").properties == {
        "Cidr": "2600:1f18:1234:5608::/64",
        "Cidr4": "10.0.0.32/27",
        "Sub": "x-y/us-east-1/${Literal}",
        "Split": "b",
    }
