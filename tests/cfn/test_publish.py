"""cfn/publish-policy on machines where latticegate runs, does not run, or has to be taken from an image."""

from __future__ import annotations

import platform

import pytest
from stub import IMAGE, stub  # noqa: F401

HERE = "amd64" if platform.machine() in ("x86_64", "amd64") else "arm64"


@pytest.fixture
def machine(stub, tmp_path):  # noqa: F811
    """Nothing built and nothing installed: a copy of the scripts beside no target directory."""
    import shutil

    import modes

    for name in ("src", "conf", "docker", "cfn", "benches"):
        shutil.copytree(modes.CFN.parent / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("target"))
    (tmp_path / "copy/docs").mkdir()
    for name in ("Cargo.toml", "Cargo.lock", "docs/reasons.md", ".dockerignore"):
        shutil.copy(modes.CFN.parent / name, tmp_path / "copy" / name)
    stub.list = tmp_path / "list.yaml"
    stub.list.write_text("rules:\n  - allow: 203.0.113.7\n  - deny: all\n")
    stub.list.chmod(0o600)
    stub.publish = lambda *arguments, **env: stub.run(tmp_path / "copy/cfn/publish-policy", "--yes", *(arguments or [stub.list]), **env)
    return stub


def uploads(stub):  # noqa: F811
    return [c for c in stub.calls() if "put-object" in c]


def runs(stub, image):  # noqa: F811
    (stub.directory / "images" / image.translate(str.maketrans("/:@", "___"))).write_text("latticegate 0.1.0\n")


def binary(stub, code, answer="latticegate 0.1.0"):  # noqa: F811
    stub.tool("latticegate", f'case $1 in --version) echo "{answer}" ;; check) echo "list.yaml:2: words"; exit {code} ;; esac')


def test_the_list_that_is_in_force_is_shown(stub):  # noqa: F811
    done = stub.run("publish-policy", "--show")
    assert (done.returncode, done.stdout) == (0, "rules:\n  - deny: all\n") and not uploads(stub)
    stub.error("get-object", "NoSuchKey")
    done = stub.run("publish-policy", "--show")
    assert done.returncode == 1 and "s3://lists/ipcontrol.yaml does not exist" in done.stderr


def test_an_image_that_runs_here_checks_the_list(machine):
    runs(machine, IMAGE)
    done = machine.publish()
    assert done.returncode == 0 and uploads(machine), done.stderr
    assert not [c for c in machine.calls() if c.startswith("docker build")]
    # A copy that the image's user may read, under its own name.
    assert (machine.directory / "copied-list.yaml").read_text() == machine.list.read_text()
    assert any("LATTICEGATE_POLICY=/list.yaml" in c for c in machine.calls())


def test_an_image_for_another_architecture_is_no_verdict_on_the_list(machine):
    """It once said "not a valid access list". Now the linter is built for this machine, once."""
    machine.write("builds", "")
    done = machine.publish()
    assert done.returncode == 0 and uploads(machine), done.stderr
    (build,) = [c for c in machine.calls() if c.startswith("docker build ")]
    assert f"--platform linux/{HERE} " in build and "not a valid access list" not in done.stderr
    assert machine.publish().returncode == 0
    assert not [c for c in machine.calls() if c.startswith("docker build ")]


def test_what_is_lacking_is_said_and_nothing_uploaded(machine):
    (machine.directory / "engine").unlink()
    done = machine.publish()
    assert done.returncode == 1 and "no latticegate runs on this machine" in done.stderr and not uploads(machine)
    assert "not a valid access list" not in done.stderr


def test_a_binary_that_cannot_run_is_passed_over_or_named(machine):
    machine.tool("latticegate", "exit 126")
    runs(machine, IMAGE)
    assert machine.publish().returncode == 0
    done = machine.publish(machine.list, GATE_BINARY=str(machine.bin / "latticegate"))
    assert done.returncode == 1 and "does not run on this machine" in done.stderr and not uploads(machine)


@pytest.mark.parametrize("code, text", [(1, "is not a valid access list"), (126, "could not be checked: latticegate ended with 126"), (127, "could not be checked"), (139, "could not be checked: latticegate ended with 139")])
@pytest.mark.parametrize("where", ["binary", "container"])
def test_invalid_is_distinguished_from_not_checked(machine, where, code, text):
    if where == "binary":
        binary(machine, code)
    else:
        runs(machine, IMAGE)
        machine.write("start-exits", str(code))
    done = machine.publish()
    assert done.returncode == 1 and text in done.stderr and not uploads(machine)


def test_a_list_that_is_too_large_or_the_same(machine):
    binary(machine, 0)
    machine.list.write_text("#" * 4194305)
    assert "larger than 4 MiB" in machine.publish().stderr and not uploads(machine)
    machine.list.write_text("rules:\n  - deny: all\n")
    done = machine.publish()
    assert done.returncode == 0 and "nothing to do" in done.stderr and not uploads(machine)


def test_rollback_takes_the_version_before(machine):
    binary(machine, 0)
    machine.tool("cmp", "exit 1")
    done = machine.publish("--rollback")
    assert done.returncode == 0 and "version v0:" in done.stderr and uploads(machine)
    assert any("--version-id v0" in c for c in machine.calls())
