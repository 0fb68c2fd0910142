"""cfn/image and cfn/scan with an `aws` and a `docker` that only note what they were asked, and what the Dockerfile copies."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import modes
import pytest
from stub import DIGEST, REPOSITORY, stub  # noqa: F401

REPO = modes.CFN.parent


# ---------- image ----------
@pytest.fixture
def sources(tmp_path):
    """A copy of what the image is made of, to be edited."""
    copy = tmp_path / "sources"
    for name in ("src", "conf", "docker", "cfn", "benches", "tests/invariants", "tests/model", "tests/support"):
        shutil.copytree(REPO / name, copy / name, ignore=shutil.ignore_patterns("target"))
    (copy / "docs").mkdir()
    for name in ("Cargo.toml", "Cargo.lock", "docs/reasons.md", ".dockerignore"):
        shutil.copy(REPO / name, copy / name)
    return copy


def test_an_image_is_built_once_and_again_only_for_other_sources(stub, sources):  # noqa: F811
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("pushed", DIGEST)

    def image(*arguments):
        done = stub.run(sources / "cfn/image", REPOSITORY, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{REPOSITORY}@{DIGEST}\n"
        calls = "\n".join(stub.calls())
        return re.search(r"imageTag=(\S+)", calls)[1], "docker build" in calls and "docker push" in calls

    first, built = image()
    assert built and first.startswith("arm64-")
    # It is there now: nothing is built.
    assert image() == (first, False)
    # Nor for what the image does not consist of.
    for name in ("conf/ipcontrol.yaml", "conf/egress-ipcontrol.yaml", "conf/start.ipcontrol.yaml", "docker/compose.yaml", "docker/demo/Corefile"):
        with (sources / name).open("a") as f:
            f.write("# an edit\n")
    (sources / "docker/demo/tls").mkdir()
    (sources / "docker/demo/tls/key.pem").write_text("made by the demo")
    assert image() == (first, False)
    tags = {first, image("X86_64")[0]}
    for name in ("src/lib.rs", "docker/Dockerfile", "docker/build", "docker/sbom", "Cargo.lock", "conf/latticegate.yaml", "conf/egress.yaml", "docs/reasons.md", "benches/run", "tests/invariants/Cargo.toml", "tests/model/Cargo.toml", ".dockerignore"):
        with (sources / name).open("a") as f:
            f.write("\n")
        tags.add(image()[0])
    assert len(tags) == 14


def test_the_image_is_one_and_not_an_index(stub):  # noqa: F811
    """With attestations, the default of buildx, ECR is given an index, which its basic scanning does not read."""
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("pushed", DIGEST)
    stub.tool("docker", stub.bin.joinpath("docker").read_text().replace("build)", 'build) echo "attestations off: $BUILDX_NO_DEFAULT_ATTESTATIONS" >>"$STUB/calls";', 1))
    assert stub.run("image", REPOSITORY).returncode == 0
    assert "attestations off: 1" in stub.calls()


def test_find_builds_nothing(stub):  # noqa: F811
    done = stub.run("image", "--find", REPOSITORY, "ARM64")
    assert (done.returncode, done.stdout) == (0, f"{REPOSITORY}@{DIGEST}\n")
    stub.error("describe-images", "ImageNotFoundException")
    done = stub.run("image", "--find", REPOSITORY, "ARM64")
    assert (done.returncode, done.stdout) == (0, "")
    assert not [c for c in stub.calls() if c.startswith("docker")]


def test_a_push_that_somebody_else_was_faster_with_is_no_failure(stub):  # noqa: F811
    """Tags are immutable: of two builds of the same sources the second push is refused."""
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("push-fails", "")
    done = stub.run("image", REPOSITORY)
    assert done.returncode == 1 and "has no digest" in done.stderr
    stub.write("pushed", DIGEST)
    done = stub.run("image", REPOSITORY)
    assert (done.returncode, done.stdout) == (0, f"{REPOSITORY}@{DIGEST}\n") and "pushed from elsewhere" in done.stderr


@pytest.mark.parametrize("lack, text", [("engine", "neither docker nor podman answers"), ("buildx", "docker has no buildx")])
def test_what_cannot_be_built_here_is_said(stub, lack, text):  # noqa: F811
    stub.error("describe-images", "ImageNotFoundException")
    if lack == "engine":
        (stub.directory / "engine").unlink()
    else:
        stub.tool("docker", stub.bin.joinpath("docker").read_text().replace("case $1 in", "case $1 in\nbuildx) exit 1 ;;", 1))
    done = stub.run("image", REPOSITORY)
    assert done.returncode == 1 and text in done.stderr


def test_what_is_compiled_in_is_copied_into_the_build():
    """A file named by include_str! outside of src has broken the image's build before."""
    dockerfile = (REPO / "docker/Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.M) for word in line.split()[:-1]}
    admitted = {line[1:] for line in (REPO / ".dockerignore").read_text().split() if line.startswith("!")}
    # What is copied must be in the context at all.
    assert copied <= admitted
    # Cargo builds nothing of a workspace that lacks a member.
    members = re.search(r"^members = \[(.+)\]$", (REPO / "Cargo.toml").read_text(), re.M)[1]
    for member in map(json.loads, members.split(", ")):
        assert any(Path(member) == Path(c) or Path(c) in Path(member).parents for c in copied), f"{member} is not copied"
    seen = 0
    for source in (REPO / "src").rglob("*.rs"):
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            path = (source.parent / name).resolve().relative_to(REPO)
            assert any(path == Path(c) or Path(c) in path.parents for c in copied), f"{source}: {path} is not copied"
            seen += 1
    assert seen > 0


# ---------- scan ----------
def findings(status, **counts):
    return json.dumps({"imageScanStatus": {"status": status, "description": "as given"}, "imageScanFindings": {"findingSeverityCounts": counts}})


@pytest.mark.parametrize(
    "answer, code, text",
    [
        (findings("COMPLETE"), 0, "no findings"),
        (findings("COMPLETE", MEDIUM=3), 0, "3 MEDIUM"),
        (findings("COMPLETE", HIGH=1), 1, "1 HIGH"),
        (findings("ACTIVE", CRITICAL=2, LOW=1), 1, "2 CRITICAL"),
        # Basic scanning of an image without an operating system.
        (findings("UNSUPPORTED_IMAGE"), 0, "NOT SCANNED"),
        # Once passed like a clean one.
        (findings("FAILED"), 1, "is FAILED: as given"),
        (findings("IN_PROGRESS"), 1, "still IN_PROGRESS"),
    ],
)
def test_scan(stub, answer, code, text):  # noqa: F811
    stub.answer("describe-images", "application/vnd.oci.image.manifest.v1+json")
    stub.answer("describe-image-scan-findings", answer)
    done = stub.run("scan", "latticegate", DIGEST)
    assert done.returncode == code, done.stderr
    assert text in done.stderr


@pytest.mark.parametrize("error, code, text", [("ScanNotFoundException", 1, "scan on push"), ("AccessDeniedException", 1, "access denied"), ("UnsupportedImageTypeException", 0, "NOT SCANNED")])
def test_scan_that_cannot_be_read(stub, error, code, text):  # noqa: F811
    stub.answer("describe-images", "application/vnd.oci.image.manifest.v1+json")
    stub.error("describe-image-scan-findings", error)
    done = stub.run("scan", "latticegate", DIGEST)
    assert done.returncode == code and text in done.stderr


@pytest.mark.parametrize("media", ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"])
def test_an_index_is_not_passed_as_unsupported(stub, media):  # noqa: F811
    stub.answer("describe-images", media)
    stub.error("describe-image-scan-findings", "UnsupportedImageTypeException")
    done = stub.run("scan", "latticegate", DIGEST)
    assert done.returncode == 1 and "attestations" in done.stderr
