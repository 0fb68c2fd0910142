"""The pipeline: what each stage may do and does, the scripts of its builds with an `aws` made of answers (stub.py)."""

from __future__ import annotations

import json
import re
import subprocess

import modes
import pytest
import resolve
from stub import AWS, DIGEST, IMAGE, REPOSITORY, stub  # noqa: F401  (stub is a fixture)
from test_security import BUILD_IN_VPC, SOURCES, as_list, pipeline, statements

REPO = modes.CFN.parent
SEEN = "s3://artifacts/lists/latticegate/ipcontrol.yaml"
LIST = "s3://lists/ipcontrol.yaml"


def stages(given):
    return {s["Name"]: s for s in given.one("AWS::CodePipeline::Pipeline").properties["Stages"]}


def role(given, name):
    (found,) = [r for r in given.all("AWS::IAM::Role") if r.name == name]
    return found.properties


# ---------- stages ----------
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("approval", ["true", "false"])
def test_stages(source, approval):
    given = pipeline(source, Approval=approval)
    made = stages(given)
    assert {name: [a["Name"] for a in s["Actions"]] for name, s in made.items()} == {
        "Source": ["Source"],
        "AccessList": ["Publish"],
        "Image": ["TestBuildPush"],
        "Deploy": ["Plan"] + ["Approve"] * (approval == "true") + ["ExecuteChangeSet"],
    }
    assert made["Source"]["Actions"][0]["ActionTypeId"]["Provider"] == {"CODECONNECTIONS": "CodeStarSourceConnection", "CODECOMMIT": "CodeCommit", "S3": "S3"}[source]
    orders = [a["RunOrder"] for a in made["Deploy"]["Actions"]]
    assert orders == sorted(set(orders))
    # CodeConnections starts the pipeline itself.
    assert bool([r for r in given.all("AWS::Events::Rule") if r.name == "Start"]) == (source != "CODECONNECTIONS")


def exported(buildspec):
    text = (modes.CFN / buildspec).read_text()
    (names,) = re.findall(r"exported-variables: \[(.*)\]", text)
    return set(names.split(", ")), text


def test_variables_of_one_stage_reach_the_next():
    """#{Namespace.NAME} stays text, or fails the run, where no build exports NAME."""
    given = pipeline()
    projects = {r.id: r.properties["Source"]["BuildSpec"] for r in given.all("AWS::CodeBuild::Project")}
    names = {}
    for stage in stages(given).values():
        for action in stage["Actions"]:
            if "Namespace" in action:
                buildspec = projects[action["Configuration"]["ProjectName"]].removeprefix("cfn/")
                exports, text = exported(buildspec)
                names[action["Namespace"]] = exports
                for name in exports:
                    assert re.search(rf"^      - {name}=\$\(", text, re.M) and re.search(rf"^      - export .*\b{name}\b", text, re.M)
    used = set(re.findall(r"#\{(\w+)\.(\w+)\}", json.dumps(stages(given))))
    assert used == {(space, name) for space, exports in names.items() for name in exports} == {("Image", "CHANGES"), ("Plan", "CHANGE_SET"), ("Plan", "SUMMARY")}


def test_an_empty_change_needs_no_approval():
    (condition,) = stages(pipeline())["Deploy"]["BeforeEntry"]["Conditions"]
    assert condition["Result"] == "SKIP"
    (rule,) = condition["Rules"]
    # The only rules that a skipped stage may have are this one and LambdaInvoke.
    assert rule["RuleTypeId"] == {"Category": "Rule", "Owner": "AWS", "Provider": "VariableCheck", "Version": "1"}
    assert rule["Configuration"] == {"Variable": "#{Image.CHANGES}", "Value": "yes", "Operator": "EQ"}


def test_what_is_approved_is_what_is_executed():
    actions = {a["Name"]: a for a in stages(pipeline())["Deploy"]["Actions"]}
    assert actions["ExecuteChangeSet"]["Configuration"]["ChangeSetName"] == "#{Plan.CHANGE_SET}"
    shown = actions["Approve"]["Configuration"]["CustomData"]
    assert "#{Plan.CHANGE_SET}" in shown and "#{Plan.SUMMARY}" in shown
    # The longest name, the longest summary, in what an approval shows.
    longest = shown.replace("#{Plan.CHANGE_SET}", "x" * 128).replace("#{Plan.SUMMARY}", "x" * 700)
    assert len(longest) <= 1000


@pytest.mark.parametrize("buildspec", sorted(modes.CFN.glob("buildspec-*.yml")), ids=lambda p: p.name)
def test_builds_run_scripts_that_are_there(buildspec):
    text = buildspec.read_text()
    scripts = re.findall(r"bash (cfn/[\w/-]+)", text)
    assert scripts
    for script in scripts:
        assert (REPO / script).is_file()
    # Not by their mode, which zips and some hosts forget; nor does what they run.
    assert set(re.findall(r"^RUN .*docker/build", (REPO / "docker/Dockerfile").read_text(), re.M)) == {"RUN bash docker/build"}
    assert "bash docker/sbom" in (REPO / "docker/build").read_text()
    assert not re.findall(r"(?<!bash )\bcfn/(?:pipeline/)?[a-z-]+ ", re.sub(r"#.*", "", text))


# ---------- rights ----------
def test_what_compiles_other_peoples_crates_deploys_nothing():
    given = pipeline("CODECOMMIT", KmsKeyArn=modes.KEY)
    allowed = {s["Sid"]: as_list(s["Action"]) for s in statements(role(given, "ImageRole"))}
    assert not [a for actions in allowed.values() for a in actions if a.startswith("iam:") or "ChangeSet" in a or "Stack" in a and a != "cloudformation:DescribeStacks"]
    # It writes templates, and nothing else of the bucket: the lists seen are the other build's.
    (templates,) = [s for s in statements(role(given, "ImageRole")) if s["Sid"] == "Templates"]
    assert templates["Resource"] == "arn:aws:s3:::foundation-artifactbucket/templates/*"


def test_the_plan_is_made_with_the_role_that_deploys():
    given = pipeline()
    (passing,) = [s for s in statements(role(given, "PlanRole")) if "iam:PassRole" in as_list(s["Action"])]
    (deploy,) = [r for r in given.all("AWS::IAM::Role") if r.name == "DeployRole"]
    assert passing["Resource"].endswith(f":role/{deploy.id}")
    (changes,) = [s for s in statements(role(given, "PlanRole")) if s["Sid"] == "ChangeSet"]
    # It makes change sets and reads those of the nested stacks; to execute one is another's.
    assert set(as_list(changes["Action"])) == {"cloudformation:CreateChangeSet", "cloudformation:DescribeChangeSet", "cloudformation:DescribeStacks"}
    # The root and each part that some design has.
    assert len(changes["Resource"]) == 9
    assert "cloudformation:ExecuteChangeSet" in {a for s in statements(role(given, "PipelineRole")) for a in as_list(s["Action"])}


def test_artifacts_expire_and_templates_do_not():
    given = pipeline(KmsKeyArn=modes.KEY)
    bucket = given.one("AWS::S3::Bucket")
    assert given.one("AWS::CodePipeline::Pipeline").properties["ArtifactStore"]["Location"] == bucket.id
    (rule,) = bucket.properties["LifecycleConfiguration"]["Rules"]
    # All of it: under which prefix CodePipeline writes is not documented.
    assert rule["Status"] == "Enabled" and rule["ExpirationInDays"] == 90 and "Prefix" not in rule
    assert (bucket.body["DeletionPolicy"], bucket.body["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    (statement,) = given.one("AWS::S3::BucketPolicy").properties["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny" and set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket.properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == modes.KEY
    foundation = resolve.resolve(modes.CFN / "foundation.yaml", {}, "latticegate-foundation")
    for other in foundation.all("AWS::S3::Bucket"):
        assert not [r for r in other.properties["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in r]


def test_builds_in_a_vpc():
    given = pipeline(**BUILD_IN_VPC)
    for project in given.all("AWS::CodeBuild::Project"):
        assert project.properties["VpcConfig"] == {"VpcId": BUILD_IN_VPC["BuildVpcId"], "Subnets": BUILD_IN_VPC["BuildSubnetIds"].split(","), "SecurityGroupIds": [BUILD_IN_VPC["BuildSecurityGroupIds"]]}
    policy = given.one("AWS::IAM::ManagedPolicy").properties
    assert set(policy["Roles"]) == {p.properties["ServiceRole"].split("role/")[1] for p in given.all("AWS::CodeBuild::Project")}
    plain = pipeline()
    assert not plain.all("AWS::IAM::ManagedPolicy") and not [p for p in plain.all("AWS::CodeBuild::Project") if "VpcConfig" in p.properties]
    with pytest.raises(resolve.RuleFailed, match="BuildSubnetIds"):
        pipeline(BuildVpcId="vpc-1")


def test_a_failed_run_is_a_message():
    topic = f"arn:aws:sns:{resolve.REGION}:{resolve.ACCOUNT}:latticegate-AlarmTopic-1"
    (rule,) = [r.properties for r in pipeline(AlarmTopicArn=topic).all("AWS::Events::Rule") if r.name == "Failed"]
    assert rule["EventPattern"]["detail"]["state"] == ["FAILED"] and rule["Targets"][0]["Arn"] == topic
    assert not pipeline().all("AWS::Events::Rule")


# ---------- the access list ----------
def pipeline_list(stub, tmp_path, repository, published, seen):
    """Runs the stage with these three lists (None: there is none); says what was put where."""
    file = tmp_path / "ipcontrol.yaml"
    file.write_text(repository)
    # Two buckets: the list that the tasks read, and the list that the pipeline saw.
    answers = []
    for bucket, text in (("lists", published), ("artifacts", seen)):
        (stub.directory / f"in-{bucket}").write_text(text or "")
        do = f'for last; do :; done; cat "$STUB/in-{bucket}" >"$last"; exit' if text else 'echo "An error occurred (NoSuchKey) when calling the GetObject operation: none" >&2; exit 254'
        answers.append(f'*"get-object --bucket {bucket} "*) echo "$*" >>"$STUB/calls"; {do} ;;')
    stub.tool("aws-of-the-stub", AWS)
    stub.tool("aws", "\n".join(['case "$*" in', *answers, "esac", 'exec aws-of-the-stub "$@"']))
    linter = stub.directory / "linter"
    linter.write_text("#!/bin/sh\ncase $1 in --version) echo latticegate 0.1.0 ;; esac\n")
    linter.chmod(0o755)
    done = stub.run("pipeline/list", file, LIST, SEEN, GATE_BINARY=str(linter))
    puts = [re.search(r"--bucket (\S+)", c)[1] for c in stub.calls() if c.startswith("s3api put-object")]
    return done, puts


A, B, C = ("rules:\n  - deny: all\n", "rules:\n  - allow: 203.0.113.7\n  - deny: all\n", "rules:\n  - allow: 10.0.0.0/8\n")


@pytest.mark.parametrize(
    "published, seen, puts, text",
    [
        (None, None, ["lists", "artifacts"], "published"),
        # The first run of a pipeline beside a list that was published by hand (the quick start does).
        (A, None, ["artifacts"], "before the pipeline's first run"),
        (B, None, ["artifacts"], "already"),
        # No edit in this commit: what was published, or rolled back, by hand stays.
        (A, B, [], "left as it is"),
        (B, B, ["artifacts"], "already"),
        # Only the commit edits the list.
        (A, A, ["lists", "artifacts"], "published"),
        # The commit before was published already.
        (B, A, ["artifacts"], "already"),
    ],
)
def test_a_list_is_published_where_the_commit_changes_it(stub, tmp_path, published, seen, puts, text):  # noqa: F811
    done, put = pipeline_list(stub, tmp_path, B, published, seen)
    assert done.returncode == 0, done.stderr
    assert put == puts and text in done.stderr


def test_two_edits_that_know_nothing_of_each_other_are_a_persons(stub, tmp_path):  # noqa: F811
    done, puts = pipeline_list(stub, tmp_path, B, A, C)
    assert done.returncode == 1 and puts == [] and "merge them" in done.stderr


# ---------- the image ----------
def test_an_edit_of_the_list_compiles_nothing(stub):  # noqa: F811
    done = stub.run("pipeline/build", "latticegate", REPOSITORY, "ARM64")
    assert not [c for c in stub.calls() if c.startswith(("docker build ", "docker push", "ecr put-image", "ecr describe-image-scan-findings"))], stub.calls()
    assert (done.returncode, done.stdout) == (0, f"{IMAGE}\n"), done.stderr


def test_new_sources_are_tested_before_they_are_built(stub):  # noqa: F811
    stub.error("describe-images", "ImageNotFoundException")
    stub.write("pushed", DIGEST)
    stub.answer("batch-get-image", {"images": [{"imageManifest": "{}", "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json"}]})
    stub.answer("put-image", "{}")
    stub.answer("describe-image-scan-findings", {"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {}})
    done = stub.run("pipeline/build", "latticegate", REPOSITORY, "ARM64")
    calls = [c for c in stub.calls() if c.startswith(("docker build ", "docker push", "ecr put-image"))]
    kinds = ["keep" if "put-image" in c else "test" if "--target test" in c else c.split()[1] for c in calls]
    # And before anything is pushed, the image that runs is marked as one to keep.
    assert kinds == ["keep", "test", "build", "push"], done.stderr


def test_an_image_that_is_there_but_does_not_run_is_scanned_all_the_same(stub):  # noqa: F811
    """Or a run that its scan has stopped would pass when it is repeated."""
    stub.fleet({"Image": IMAGE.replace("ab", "cd")})
    stub.answer("describe-image-scan-findings", {"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {"findingSeverityCounts": {"CRITICAL": 1}}})
    done = stub.run("pipeline/build", "latticegate", REPOSITORY, "ARM64")
    assert done.returncode == 1 and "1 CRITICAL" in done.stderr and done.stdout == ""


def test_a_failed_test_pushes_nothing(stub):  # noqa: F811
    stub.error("describe-images", "ImageNotFoundException")
    stub.answer("batch-get-image", {"images": []})
    stub.tool("docker", 'echo "docker $*" >>"$STUB/calls"\n[ "$1" != build ] || exit 1')
    done = stub.run("pipeline/build", "latticegate", REPOSITORY, "ARM64")
    assert done.returncode != 0 and done.stdout == "" and not [c for c in stub.calls() if c.startswith("docker push")]


def test_tests_of_the_build_hold_neither_conf_as_it_was_shipped_nor_pages_that_it_lacks():
    """conf/ is the operator's to edit; a test on the shipped files would fail every build of an edited repository. Of docs/ the image's
    build has one page."""
    dockerfile = (REPO / "docker/Dockerfile").read_text()
    skipped = set(re.findall(r"--skip (\w+)", dockerfile))
    holding = set()
    for source in (REPO / "src").rglob("*.rs"):
        name = None
        for line in source.read_text().splitlines():
            if found := re.match(r"\s*(?:pub )?fn (\w+)", line):
                name = found[1]
            if re.search(r'include_str!\("[./]*conf/(?:ipcontrol|latticegate)\.yaml"\)|"/docs/(?!reasons\.md)', line):
                holding.add(name)
    assert holding == skipped and len(skipped) == 5


# ---------- images that run ----------
def test_the_image_that_runs_is_kept(stub):  # noqa: F811
    manifest = '{"schemaVersion": 2}'
    stub.answer("batch-get-image", {"images": [{"imageManifest": manifest, "imageManifestMediaType": "application/vnd.oci.image.index.v1+json"}]})
    stub.answer("put-image", "{}")
    done = stub.run("keep", IMAGE)
    (put,) = [c for c in stub.calls() if "put-image" in c]
    assert done.returncode == 0 and f"--image-tag running-{DIGEST[7:]}" in put and f"--image-digest {DIGEST}" in put and "image.index" in put
    # It has the tag already: good. Anything else is not.
    stub.absent("put-image")
    stub.error("put-image", "ImageAlreadyExistsException")
    assert stub.run("keep", IMAGE).returncode == 0
    stub.error("put-image", "AccessDeniedException")
    assert stub.run("keep", IMAGE).returncode == 1
    stub.answer("batch-get-image", {"images": []})
    assert "not in the repository any more" in stub.run("keep", IMAGE).stderr
    assert stub.run("keep", "latticegate:latest").returncode == 2


def lifecycle(images):
    """The images that ECR expires: each rule takes those with its tags, a higher rule's are not a lower one's to expire."""
    text = resolve.resolve(modes.CFN / "foundation.yaml", {}).one("AWS::ECR::Repository").properties["LifecyclePolicy"]["LifecyclePolicyText"]
    rules = sorted(json.loads(text)["rules"], key=lambda r: r["rulePriority"])
    assert [r["selection"]["tagStatus"] for r in rules][-1] == "any"
    expired, claimed = set(), set()
    for r in rules:
        prefixes = r["selection"].get("tagPrefixList", [""])
        matching = [i for i, tags in images if any(t.startswith(p) for t in tags for p in prefixes)]
        assert r["selection"]["countType"] == "imageCountMoreThan"
        expired |= set(matching[r["selection"]["countNumber"] :]) - claimed
        claimed |= set(matching)
    return expired


def test_unapproved_images_do_not_push_out_the_one_that_runs():
    # Newest first; the running one is the oldest of 201.
    builds = [(i, [f"arm64-{i}"]) for i in range(200)]
    assert 200 in lifecycle([*builds, (200, ["arm64-200"])])
    assert 200 not in lifecycle([*builds, (200, ["arm64-200", f"running-{DIGEST[7:]}"])])


# ---------- package ----------
def packaged(stub, tmp_path, names="Image AvailabilityZone1 S3PrefixListId"):  # noqa: F811
    done = subprocess.run([modes.CFN / "pipeline/package", "latticegate", IMAGE, "artifacts"], env=stub.env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), json.loads((tmp_path / "parameters.json").read_text()), (tmp_path / "template-url").read_text()


def test_parameters_that_the_templates_have_no_more_are_left_out(stub, tmp_path):  # noqa: F811
    """A release may drop or rename one: passing it on would fail every later run."""
    stub.fleet({"DroppedParameter": "x", "TaskSize": "2vCPU-4GB"})
    _, parameters, url = packaged(stub, tmp_path)
    by_name = {p["ParameterKey"]: p for p in parameters}
    assert "DroppedParameter" not in by_name
    assert by_name["Image"] == {"ParameterKey": "Image", "ParameterValue": IMAGE}
    # Everything else as it is, without being read: nothing falls back to a default.
    assert by_name["TaskSize"] == {"ParameterKey": "TaskSize", "UsePreviousValue": True}
    assert set(by_name) <= set(resolve.decode(str(modes.ROOT))[0]["Parameters"])
    assert url.startswith("https://s3.us-east-1.amazonaws.com/artifacts/templates/root-")


def test_the_same_image_and_templates_change_nothing(stub, tmp_path):  # noqa: F811
    text = "Resources:\n  Proxy:\n    Properties:\n      TemplateURL: https://s3.us-east-1.amazonaws.com/artifacts/templates/1.template\n"
    stub.answer("package", text)
    stub.answer("get-template", json.dumps(text))
    assert packaged(stub, tmp_path)[0] == "no"
    stub.answer("get-template", json.dumps(text.replace("1.template", "0.template")))
    assert packaged(stub, tmp_path)[0] == "yes"
    stub.answer("get-template", json.dumps(text))
    stub.fleet({"Image": IMAGE.replace("ab", "cd")})
    assert packaged(stub, tmp_path)[0] == "yes"


# ---------- plan ----------
def change(action, name, kind, **more):
    return {"Type": "Resource", "ResourceChange": {"Action": action, "LogicalResourceId": name, "ResourceType": kind, **more}}


def plan(stub, tmp_path):  # noqa: F811
    (tmp_path / "template-url").write_text("https://s3.us-east-1.amazonaws.com/artifacts/templates/root-1.yaml")
    (tmp_path / "parameters.json").write_text("[]")
    done = subprocess.run([modes.CFN / "pipeline/plan", "latticegate", tmp_path, "arn:aws:iam::1:role/deploy"], env=stub.env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    return done, *((tmp_path / f).read_text() if done.returncode == 0 else "" for f in ("change-set", "summary"))


def test_the_plan_looks_into_nested_stacks(stub, tmp_path):  # noqa: F811
    stub.answer("create-change-set", "arn:aws:cloudformation:us-east-1:1:changeSet/cfn-deploy-1/5f1e")
    nested = "arn:aws:cloudformation:us-east-1:1:changeSet/nested/1"
    # The stub files its answers by the name of the change set.
    filed = re.compile(r"[^A-Za-z0-9-]")
    root = [change("Modify", "Proxy", "AWS::CloudFormation::Stack", ChangeSetId=nested, PhysicalResourceId="nested-proxy"), change("Modify", "AlarmTopic", "AWS::SNS::Topic")]
    inner = [change("Modify", "TaskDefinition", "AWS::ECS::TaskDefinition", Replacement="True")]
    stub.answer("describe-change-set", {"Status": "CREATE_COMPLETE", "Changes": root}, filed.sub("_", "arn:aws:cloudformation:us-east-1:1:changeSet/cfn-deploy-1/5f1e"))
    stub.answer("describe-change-set", {"Status": "CREATE_COMPLETE", "Changes": inner}, filed.sub("_", nested))
    done, name, summary = plan(stub, tmp_path)
    assert done.returncode == 0, done.stderr
    (create,) = [c for c in stub.calls() if "create-change-set" in c]
    assert "--include-nested-stacks" in create and "--role-arn arn:aws:iam::1:role/deploy" in create
    assert name == "cfn-deploy-1"
    assert summary.startswith("2 changes: ") and "Proxy/TaskDefinition" in summary and "REPLACED" in summary and "AlarmTopic" in summary
    assert "\n" not in summary


def test_a_long_plan_fits_an_approval(stub, tmp_path):  # noqa: F811
    many = [change("Modify", f"Resource{i}", "AWS::EC2::SecurityGroupIngress") for i in range(200)]
    stub.answer("describe-change-set", {"Status": "CREATE_COMPLETE", "Changes": many})
    done, _, summary = plan(stub, tmp_path)
    assert done.returncode == 0 and len(summary) <= 700 and summary.startswith("200 changes") and "log of this build" in summary
    assert done.stderr.count("SecurityGroupIngress") >= 200


def test_a_plan_without_resources_is_said_and_can_be_executed(stub, tmp_path):  # noqa: F811
    stub.answer("describe-change-set", {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes."}, once=True)
    done, name, summary = plan(stub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert summary.startswith("no resource changes") and name
    assert "--include-nested-stacks" not in [c for c in stub.calls() if "create-change-set" in c][-1]


def test_a_plan_that_cannot_be_made_ends_the_run(stub, tmp_path):  # noqa: F811
    stub.answer("describe-change-set", {"Status": "FAILED", "StatusReason": "Parameters: [New] must have values"})
    done, *_ = plan(stub, tmp_path)
    assert done.returncode == 1 and "must have values" in done.stderr
    # Nor the second kind, of which the reason is said as well, and not what a waiter says.
    stub.answer("describe-change-set", {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes."}, once=True)
    done, *_ = plan(stub, tmp_path)
    assert done.returncode == 1 and "plan: AWS made no change set: Parameters: [New] must have values" in done.stderr


@pytest.mark.parametrize("kind, message", [("ThrottlingException", "Rate exceeded"), ("AccessDenied", "not authorized to perform"), ("ExpiredToken", "The security token included in the request is expired")])
@pytest.mark.parametrize("script, operation", [("list", "s3api get-object"), ("build", "ecr describe-images"), ("package", "cloudformation get-template"), ("plan", "cloudformation create-change-set")])
def test_no_answer_ends_a_build(stub, tmp_path, script, operation, kind, message):  # noqa: F811
    """Throttled, denied, expired: none of them is "no such list", "no such image" or "no change"."""
    stub.write("fault", f"\nAn error occurred ({kind}) when calling the Some operation: {message}\n")
    (tmp_path / "list.yaml").write_text(A)
    (tmp_path / "template-url").write_text("https://example.com/root.yaml")
    arguments = {"list": [tmp_path / "list.yaml", LIST, SEEN], "build": ["latticegate", REPOSITORY, "ARM64"], "package": ["latticegate", IMAGE, "artifacts"], "plan": ["latticegate", tmp_path, "role"]}[script]
    done = subprocess.run([modes.CFN / "pipeline" / script, *map(str, arguments)], env=stub.env | {"FAULT_AT": operation}, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    calls = stub.calls()
    assert "FAULT" in calls and not [c for c in calls if c.startswith(("s3api put-object --bucket lists", "docker push", "cloudformation execute"))]


# ---------- what is built ----------
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
    demo = re.findall(r"^ +image: (.+)$", (REPO / "docker/compose.yaml").read_text(), re.M)
    assert image in demo, "the demo's certificate is made with the image that is pulled for the build"
    for name in demo:
        registry, _, rest = name.partition("/")
        # Without a host in front of it a name is one of Docker Hub's.
        assert "." in registry and not registry.endswith("docker.io"), name
        assert re.search(r":v?[0-9]", rest), f"{name}: whatever is newest"
    for buildspec in modes.CFN.glob("buildspec-*.yml"):
        assert "docker.io" not in buildspec.read_text() and "docker pull" not in buildspec.read_text()
