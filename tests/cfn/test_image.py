"""cfn/image and cfn/scan with an `aws` and a `docker` that only note what they were asked, and what the Dockerfile copies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import modes
import pytest

REPO = modes.CFN.parent
REPOSITORY = "123456789012.dkr.ecr.us-east-1.amazonaws.com/latticegate"
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def fake(tmp_path):
    """`aws` answers from files named after its operation (missing: exit 254); all calls go into `calls`."""
    directory = tmp_path / "fake"
    directory.mkdir()
    (directory / "aws").write_text(
        '#!/bin/sh\necho "aws $*" >>"$FAKE/calls"\ncase $2 in get-caller-identity) echo 123456789012; exit ;; get-login-password) echo password; exit ;; esac\n'
        '[ -f "$FAKE/$2" ] || { cat "$FAKE/$2.error" >&2; exit 254; }\ncat "$FAKE/$2"\n'
    )
    (directory / "docker").write_text(f'#!/bin/sh\necho "docker $*" >>"$FAKE/calls"\n[ "$1" != login ] || cat >/dev/null\n[ "$1" != push ] || echo {DIGEST} >"$FAKE/describe-images"\n')
    for tool in ("aws", "docker"):
        (directory / tool).chmod(0o755)
    (directory / "calls").touch()
    (directory / "describe-images.error").write_text("ImageNotFoundException\n")
    keep = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env = keep | {"FAKE": str(directory), "PATH": f"{directory}:{keep['PATH']}", "AWS_REGION": "us-east-1", "SCAN_PATIENCE": "0"}
    return directory, env


def run(env, script, *arguments):
    return subprocess.run([script, *arguments], env=env, capture_output=True, text=True, timeout=60)


# ---------- image ----------
@pytest.fixture
def sources(tmp_path):
    """A copy of what the image is made of, to be edited."""
    copy = tmp_path / "sources"
    for name in ("src", "conf", "docker", "cfn"):
        shutil.copytree(REPO / name, copy / name)
    (copy / "docs").mkdir()
    for name in ("Cargo.toml", "Cargo.lock", "docs/reasons.md"):
        shutil.copy(REPO / name, copy / name)
    return copy


def test_an_image_is_built_once_and_again_only_for_other_sources(fake, sources):
    directory, env = fake

    def image(*arguments):
        done = run(env, sources / "cfn/image", REPOSITORY, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{REPOSITORY}@{DIGEST}\n"
        calls = (directory / "calls").read_text()
        (directory / "calls").write_text("")
        return re.search(r"imageTag=(\S+)", calls)[1], "docker build" in calls and "docker push" in calls

    first, built = image()
    assert built and first.startswith("arm64-")
    # It is there now: nothing is built.
    assert image() == (first, False)
    with (sources / "conf/ipcontrol.yaml").open("a") as f:
        f.write("# an edit of the list\n")
    assert image() == (first, False)
    tags = {first, image("X86_64")[0]}
    for name in ("src/lib.rs", "docker/Dockerfile", "Cargo.lock", "conf/latticegate.yaml", "docs/reasons.md"):
        with (sources / name).open("a") as f:
            f.write("\n")
        tags.add(image()[0])
    assert len(tags) == 7


def test_what_is_compiled_in_is_copied_into_the_build():
    """A file named by include_str! outside of src has broken the image's build before."""
    dockerfile = (REPO / "docker/Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.M) for word in line.split()[:-1]}
    admitted = {line[1:] for line in (REPO / ".dockerignore").read_text().split() if line.startswith("!")}
    # What is copied must be in the context at all.
    assert copied <= admitted
    seen = 0
    for source in (REPO / "src").rglob("*.rs"):
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            path = (source.parent / name).resolve().relative_to(REPO)
            assert any(path == Path(c) or Path(c) in path.parents for c in copied), f"{source}: {path} is not copied"
            seen += 1
    assert seen > 0


def test_nothing_is_pulled_from_docker_hub():
    """Anonymous pulls from addresses that many share end in 429 there, in CodeBuild above all."""
    dockerfile = (REPO / "docker/Dockerfile").read_text()
    assert not re.search(r"^#\s*syntax\s*=", dockerfile, re.M)
    (image,) = re.findall(r"^ARG RUST_IMAGE=(.+)$", dockerfile, re.M)
    registry, _, name = image.partition("/")
    assert registry == "public.ecr.aws"
    # One release, not whatever is newest.
    assert re.fullmatch(r"docker/library/rust:[0-9]+\.[0-9]+\.[0-9]+-slim-bookworm", name)
    stages = set(re.findall(r"^FROM .* AS (\S+)$", dockerfile, re.M))
    for base in re.findall(r"^FROM (?:--platform=\S+ )?(\S+)", dockerfile, re.M):
        assert base in stages | {"scratch", "${RUST_IMAGE}"}
    for buildspec in modes.CFN.glob("buildspec-*.yml"):
        assert "docker.io" not in buildspec.read_text() and "docker pull" not in buildspec.read_text()


# ---------- scan ----------
def findings(status, **counts):
    return json.dumps({"imageScanStatus": {"status": status, "description": "as told"}, "imageScanFindings": {"findingSeverityCounts": counts}})


@pytest.mark.parametrize(
    "answer, code, text",
    [
        (findings("COMPLETE"), 0, "no findings"),
        (findings("COMPLETE", MEDIUM=3), 0, "3 MEDIUM"),
        (findings("COMPLETE", HIGH=1), 1, "1 HIGH"),
        (findings("ACTIVE", CRITICAL=2, LOW=1), 1, "2 CRITICAL"),
        # Basic scanning of an image without an operating system.
        (findings("UNSUPPORTED_IMAGE"), 0, "enhanced scanning"),
        (findings("IN_PROGRESS"), 1, "still IN_PROGRESS"),
    ],
)
def test_scan(fake, answer, code, text):
    directory, env = fake
    (directory / "describe-image-scan-findings").write_text(answer)
    done = run(env, modes.CFN / "scan", "latticegate", DIGEST)
    assert done.returncode == code, done.stderr
    assert text in done.stderr


@pytest.mark.parametrize("error, text", [("ScanNotFoundException", "scan on push"), ("AccessDeniedException", "ecr:DescribeImageScanFindings")])
def test_scan_that_cannot_be_read(fake, error, text):
    directory, env = fake
    (directory / "describe-image-scan-findings.error").write_text(f"An error occurred ({error}) when calling\n")
    done = run(env, modes.CFN / "scan", "latticegate", DIGEST)
    assert done.returncode == 1 and text in done.stderr


# ---------- the pipeline's two builds ----------
def test_the_image_build_tests_builds_scans_and_packages_in_that_order():
    commands = (modes.CFN / "buildspec-image.yml").read_text()
    steps = ["docker build --target test", "cfn/image ", "cfn/scan ", "cloudformation package", ".Image = $image"]
    places = [commands.index(step) for step in steps]
    assert places == sorted(places)
    assert "cargo test --locked" in (REPO / "docker/Dockerfile").read_text()


def test_the_access_list_is_linted_and_published_without_an_image():
    commands = (modes.CFN / "buildspec-policy.yml").read_text()
    assert "cfn/publish-policy --yes" in commands and "docker" not in commands
