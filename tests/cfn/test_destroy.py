"""cfn/destroy against a stub account: it ends, it says what it could not delete, and an interrupted run can be repeated."""

from __future__ import annotations

import json
import re

import pytest
from stub import SCRIPTS, stack, stub  # noqa: F401
from test_deploy import event
from test_faults import to_delete


def deleted(stub):  # noqa: F811
    return [" ".join(c.split()[1:4]) for c in stub.calls() if c.split()[1].startswith("delete-")]


def test_everything_goes_and_the_foundation_last(stub):  # noqa: F811
    """Its stack is where the names are read from: a run that was interrupted before finds them again."""
    to_delete(stub)
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 0 and "all gone" in done.stderr, done.stderr
    assert deleted(stub) == [
        "delete-stack --stack-name latticegate",
        "delete-objects --bucket lists",
        "delete-bucket --bucket lists",
        "delete-objects --bucket artifacts",
        "delete-bucket --bucket artifacts",
        "delete-repository --repository-name latticegate",
        "delete-stack --stack-name latticegate-foundation",
    ]


def test_objects_that_cannot_be_deleted_end_it(stub):  # noqa: F811
    """The call succeeds, and listing them again would never end."""
    to_delete(stub)
    stub.answer("list-object-versions", {"Versions": [{"Key": "ipcontrol.yaml", "VersionId": "1"}]}, "lists")
    stub.answer("delete-objects", {"Errors": [{"Key": "ipcontrol.yaml", "Code": "AccessDenied", "Message": "object lock"}]})
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 1 and "1 objects, ipcontrol.yaml first: AccessDenied object lock" in done.stderr
    assert len([c for c in stub.calls() if "delete-objects" in c]) == 1
    assert "latticegate-foundation" not in "".join(deleted(stub))


BUCKET, ROLE = "latticegate-pipeline-artifacts-1a2b", "latticegate-pipeline-DeployRole-1A2B"


def test_what_the_pipeline_left_is_named(stub):  # noqa: F811
    """Its stack keeps the bucket of artifacts and the role of the fleet: "all gone" was not true."""
    to_delete(stub)
    stub.answer("list-buckets", {"Buckets": [{"Name": BUCKET}, {"Name": "latticegate-pipelines-artifacts-1"}]})
    stub.answer("list-roles", f"{ROLE}\n")
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 0 and "all gone" not in done.stderr and "latticegate-pipelines" not in done.stderr
    assert f"kept, of the pipeline: bucket {BUCKET}, role {ROLE}" in done.stderr
    for command in (f"aws s3 rb s3://{BUCKET}", f"aws iam delete-role --role-name {ROLE}", f"aws iam delete-role-policy --role-name {ROLE}", f"list-object-versions --bucket {BUCKET}"):
        assert command in done.stderr
    asked = next(c for c in stub.calls() if "list-roles" in c)
    assert "starts_with(RoleName, 'latticegate-pipeline-DeployRole-')" in asked


def test_the_command_that_empties_names_every_version():
    import jmespath

    (query,) = re.findall(r"--query '(\{Objects.*?\})'", (SCRIPTS / "destroy").read_text())
    one = lambda key: {"Key": key, "VersionId": "1", "Size": 3}  # noqa: E731
    plain = lambda *keys: {"Objects": [{"Key": k, "VersionId": "1"} for k in keys]}  # noqa: E731
    assert jmespath.search(query, {"Versions": [one("a"), one("b")], "DeleteMarkers": [one("c")]}) == plain("a", "b", "c")
    assert jmespath.search(query, {"DeleteMarkers": [one("c")]}) == plain("c") == jmespath.search(query, {"Versions": [one("c")]})


@pytest.mark.parametrize("operation", ["list-buckets", "list-roles"])
def test_what_may_not_be_seen_is_a_note(stub, operation):  # noqa: F811
    """Everything is deleted by then: no reason to end with an error."""
    to_delete(stub)
    stub.error(operation, "AccessDenied")
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 0 and "may not be listed" in done.stderr and "all gone" not in done.stderr


def test_an_interrupted_run_is_repeated(stub):  # noqa: F811
    to_delete(stub)
    stub.without_fleet()
    stub.error("head-bucket", "404", "Not Found", about="lists")
    stub.error("delete-repository", "RepositoryNotFoundException")
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 0, done.stderr
    assert "there is no stack latticegate" in done.stderr and "s3://lists is gone already" in done.stderr and "repository latticegate is gone already" in done.stderr
    assert deleted(stub)[-1] == "delete-stack --stack-name latticegate-foundation"


def test_what_an_older_run_left_is_not_called_gone(stub):  # noqa: F811
    to_delete(stub)
    stub.without_fleet()
    stub.absent("describe-stacks", "latticegate-foundation")
    stub.answer("list-buckets", {"Buckets": [{"Name": "latticegate-foundation-policybucket-1"}, {"Name": "latticegate-foundations-policybucket-1"}]})
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 1 and "still there, from an earlier run: latticegate-foundation-policybucket-1\n" in done.stderr and "all gone" not in done.stderr


def test_a_foundation_that_failed_at_its_creation_is_cleared_as_well(stub):  # noqa: F811
    """It has no outputs; its buckets were kept."""
    to_delete(stub)
    stub.without_fleet()
    stub.answer("describe-stacks", stack("latticegate-foundation", "ROLLBACK_COMPLETE"), "latticegate-foundation")
    assert stub.run("destroy", "--yes", "--empty").returncode == 0
    assert "delete-bucket --bucket lists" in deleted(stub)


def test_the_pipeline_comes_between_fleet_and_foundation(stub):  # noqa: F811
    to_delete(stub)
    stub.answer("describe-stacks", stack("latticegate-pipeline"), "latticegate-pipeline")
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 1 and "delete-stack --stack-name latticegate-pipeline, then" in done.stderr
    # The fleet could still be deleted with its role.
    assert deleted(stub) == ["delete-stack --stack-name latticegate"]


def test_a_fleet_whose_role_is_gone(stub):  # noqa: F811
    to_delete(stub)
    stub.error("get-role", "NoSuchEntity")
    done = stub.run("destroy", "--yes")
    assert done.returncode == 1 and "--role ARN" in done.stderr and not deleted(stub)
    done = stub.run("destroy", "--yes", "--role", "arn:aws:iam::1:role/other")
    assert done.returncode == 0, done.stderr
    assert "cloudformation delete-stack --stack-name latticegate --role-arn arn:aws:iam::1:role/other" in stub.calls()


@pytest.mark.parametrize("empty", [[], ["--empty"]])
def test_a_dry_run_deletes_nothing(stub, empty):  # noqa: F811
    to_delete(stub)
    done = stub.run("destroy", "--dry-run", *empty)
    assert done.returncode == 0 and not deleted(stub)
    assert ("would empty and delete repository latticegate, buckets lists artifacts" if empty else "would keep repository latticegate, buckets lists artifacts") in done.stderr


GAVE_UP = "\nWaiter StackDeleteComplete failed: Max attempts exceeded\n"
FAILED = '\nWaiter StackDeleteComplete failed: Waiter encountered a terminal failure state: For expression "Stacks[].StackStatus" we matched expected path: "DELETE_FAILED" at least once\n'
EXPIRED = "\nWaiter StackDeleteComplete failed: An error occurred (ExpiredToken): The security token included in the request is expired\n"


def lost(stub, words, status=None):  # noqa: F811
    """The wait ends with these words; the stack then has this status, or is gone."""
    to_delete(stub)
    stub.write("answers/wait-stack-delete-complete.latticegate.error", words)
    stub.answer("describe-stack-events", {"StackEvents": []})
    stub.answer("describe-stacks", (stub.directory / "answers/describe-stacks.latticegate").read_text(), "latticegate", once=True)
    stub.absent("describe-stacks", "latticegate")
    if status:
        stub.answer("describe-stacks", stack("latticegate", status), "latticegate")


def test_a_deletion_that_fails_names_its_causes(stub):  # noqa: F811
    lost(stub, FAILED, "DELETE_FAILED")
    kind = "AWS::CloudFormation::Stack"
    stub.answer("describe-stack-events", {"StackEvents": [event("arn:r", "Balancer", "DELETE_FAILED", 9, "deletion protection is on", "AWS::X"), event("arn:r", "latticegate", "DELETE_IN_PROGRESS", 8, "User Initiated", kind, "arn:r"), event("arn:r", "Older", "CREATE_FAILED", 1, "once", "AWS::X")]})
    done = stub.run("destroy", "--yes")
    assert done.returncode == 1 and "    Balancer (AWS::X): deletion protection is on\n" in done.stderr and "Older" not in done.stderr
    assert "was not deleted (DELETE_FAILED)" in done.stderr


@pytest.mark.parametrize("words", [GAVE_UP, EXPIRED])
def test_a_deletion_that_is_under_way_has_not_failed(stub, words):  # noqa: F811
    """The waiter gives up after an hour, or with the credentials."""
    lost(stub, words, "DELETE_IN_PROGRESS")
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 1 and "stack latticegate is still being deleted" in done.stderr and "wait stack-delete-complete --stack-name latticegate" in done.stderr
    assert "was not deleted" not in done.stderr and deleted(stub) == ["delete-stack --stack-name latticegate"]


def test_a_deletion_that_ended_after_all(stub):  # noqa: F811
    lost(stub, GAVE_UP)
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 0 and "all gone" in done.stderr, done.stderr


def test_a_deletion_that_cannot_be_asked_about_goes_on(stub):  # noqa: F811
    lost(stub, EXPIRED)
    stub.error("describe-stacks", "ExpiredToken", "The security token included in the request is expired", about="latticegate")
    done = stub.run("destroy", "--yes", "--empty")
    assert done.returncode == 1 and "aws cloudformation describe-stacks: the credentials have expired" in done.stderr and "goes on without this script" in done.stderr
    assert deleted(stub) == ["delete-stack --stack-name latticegate"]


def test_batches_go_by_file(stub):  # noqa: F811
    """One argument may hold 128 KiB: 500 long keys did not fit."""
    to_delete(stub)
    stub.answer("list-object-versions", json.dumps({"Versions": [{"Key": "k" * 400 + str(i), "VersionId": "v" * 32} for i in range(500)]}), "lists", once=True)
    assert stub.run("destroy", "--yes", "--empty").returncode == 0
