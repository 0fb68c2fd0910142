"""What the clients ask for: the origins and the resolver, all of them in the namespace of the internet."""

import base64
import hashlib
import io
import json
import os
import shutil
import tarfile
import textwrap
import zipfile

from network import ALLOWED, DENIED, ENDPOINT, ENDPOINT_ALLOWED, ENDPOINT_DENIED, GRPC, PRIVATE, RESOLVER, S3, S3_ALLOWED, S3_DENIED, WEB, WEB6, WEBSOCKET, command

DEBS = 12


def start(network, authority, root, venvs):
    folder = network.directory / "www"
    folder.mkdir()
    content(folder)
    resolver(network)
    network.start("internet", "origin", "python3", root / "tests/clients/origin.py", folder, "127.0.0.1", WEB, WEB6)
    tls(network, authority)
    # The last of its addresses.
    network.wait_for("internet", "origin", WEB6, 80)
    network.wait_for("internet", "nginx", WEB, 443)
    optional = {
        "s3": venvs / "s3/bin/moto_server",
        "grpc": venvs / "core/bin/python",
        "websocket": venvs / "clients/bin/python",
    }
    missing = {
        name: f"{program.name} of its virtual environment is not installed"
        for name, program in optional.items()
        if not program.exists()
    }
    programs = root / "tests/clients/programs"
    if "s3" not in missing:
        pair = authority.issue("s3", S3_ALLOWED, f"*.{S3_ALLOWED}", S3_DENIED, f"*.{S3_DENIED}")
        network.start("internet", "s3", optional["s3"], "-H", S3, "-p", 443, "-c", pair[0], "-k", pair[1])
        network.wait_for("internet", "s3", S3, 443, seconds=60)
        endpoint(network, authority, optional["s3"], venvs / "clients/bin/aws")
    if "grpc" not in missing:
        pair = authority.issue("grpc", f"*.grpc.{ALLOWED}", f"*.grpc.{DENIED}")
        network.start("internet", "grpc", optional["grpc"], programs / "grpc_server.py", f"{GRPC}:443", *pair)
        network.wait_for("internet", "grpc", GRPC, 443)
    if "websocket" not in missing:
        pair = authority.issue("websocket", f"*.ws.{ALLOWED}", f"*.ws.{DENIED}")
        network.start(
            "internet", "websocket", optional["websocket"], programs / "websocket_server.py", WEBSOCKET, *pair
        )
        network.wait_for("internet", "websocket", WEBSOCKET, 443)
    return missing


def endpoint(network, authority, server, aws):
    """S3 that checks signatures: a user, its key and its rights are made first, and nothing more without a signature."""
    pair = authority.issue("endpoint", ENDPOINT_ALLOWED, f"*.{ENDPOINT_ALLOWED}", ENDPOINT_DENIED, f"*.{ENDPOINT_DENIED}")
    network.start("internet", "endpoint", server, "-H", ENDPOINT, "-p", 443, "-c", pair[0], "-k", pair[1], env={"INITIAL_NO_AUTH_ACTION_COUNT": "3"})
    network.wait_for("internet", "endpoint", ENDPOINT, 443, seconds=60)
    if not aws.exists():
        return
    environment = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-west-2", "AWS_CONFIG_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "PYTHONWARNINGS": "ignore"}

    def iam(*words):
        said = command("ip", "netns", "exec", "internet", str(aws), "--endpoint-url", f"https://{ENDPOINT}", "--no-verify-ssl", "--output", "json", "iam", *words, env={**os.environ, **environment})
        return said.stdout

    iam("create-user", "--user-name", "remote")
    key = iam("create-access-key", "--user-name", "remote")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam("put-user-policy", "--user-name", "remote", "--policy-name", "all", "--policy-document", json.dumps(everything))
    (network.directory / "endpoint-key.json").write_text(key)


def resolver(network):
    """Every name of every domain used here has an address: what is refused is not refused for want of one."""
    addresses = [
        # The proxy asks for other names to see whether its resolver answers.
        "/#/",
        f"/{ALLOWED}/{WEB}", f"/{DENIED}/{WEB}", f"/six.{ALLOWED}/{WEB6}", f"/six-tls.{ALLOWED}/{WEB6}", f"/private.{ALLOWED}/{PRIVATE}",
        f"/missing.{ALLOWED}/", f"/grpc.{ALLOWED}/{GRPC}", f"/grpc.{DENIED}/{GRPC}", f"/ws.{ALLOWED}/{WEBSOCKET}",
        f"/ws.{DENIED}/{WEBSOCKET}", f"/amazonaws.com/{S3}", f"/{ENDPOINT_ALLOWED}/{ENDPOINT}", f"/{ENDPOINT_DENIED}/{ENDPOINT}",
    ]  # fmt: skip
    network.start(
        "internet", "dnsmasq", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
        "--user=root", "--pid-file=", "--bind-interfaces", f"--listen-address={RESOLVER}", "--log-queries", "--log-facility=-",
        *(f"--address={address}" for address in addresses),
    )  # fmt: skip


def tls(network, authority):
    certificate, key = authority.issue("web", f"*.{ALLOWED}", f"*.{DENIED}")
    configuration = network.directory / "nginx.conf"
    configuration.write_text(f"""\
daemon off;
user root;
pid {network.directory}/nginx.pid;
error_log {network.directory}/nginx-error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {network.directory}/nginx-body;
    proxy_temp_path {network.directory}/nginx-proxy;
    fastcgi_temp_path {network.directory}/nginx-fastcgi;
    uwsgi_temp_path {network.directory}/nginx-uwsgi;
    scgi_temp_path {network.directory}/nginx-scgi;
    server {{
        listen {WEB}:443 ssl http2;
        listen [{WEB6}]:443 ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        client_max_body_size 0;
        location / {{
            proxy_pass http://127.0.0.1;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
""")
    network.start("internet", "nginx", "nginx", "-c", configuration, "-e", network.directory / "nginx-error.log")


def content(folder):
    (folder / "index.html").write_text(
        "<!DOCTYPE html><title>plain</title><p id=p>not run<script src=/page.js></script>\n"
    )
    (folder / "page.js").write_text(
        textwrap.dedent("""\
        document.getElementById("p").textContent = "script ran";
        fetch("/echo", { method: "POST", body: "from the page" })
          .then((answer) => answer.json())
          .then((seen) => { document.getElementById("p").textContent += ", fetched " + seen.length + " bytes"; });
        if (location.search === "?socket") {
          const socket = new WebSocket("wss://chromium.ws.example.org/");
          socket.onopen = () => socket.send("from the page");
          socket.onmessage = (message) => { document.title = "echoed " + message.data; };
          // Chromium's own time stands still for requests, but not for sockets.
          fetch("/slow");
        }
        """)
    )
    wheel(folder)
    npm_package(folder)
    crate(folder)
    repository(folder)
    if shutil.which("dpkg-deb"):
        debs(folder)


def wheel(folder):
    """A simple index (PEP 503) with one wheel."""
    project = folder / "simple/spoke-thing"
    project.mkdir(parents=True)
    files = {
        "spoke_thing.py": b"ANSWER = 42\n",
        "spoke_thing-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: spoke-thing\nVersion: 1.0\n",
        "spoke_thing-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in files.items()
    )
    name = "spoke_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(project / name, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr("spoke_thing-1.0.dist-info/RECORD", record + "spoke_thing-1.0.dist-info/RECORD,,\n")
    digest = hashlib.sha256((project / name).read_bytes()).hexdigest()
    (project / "index.html").write_text(f'<!DOCTYPE html><a href="{name}#sha256={digest}">{name}</a>\n')


def npm_package(folder):
    """The two files of a registry that an installation asks for. Where the tarball is depends on the name that is asked."""
    manifest = {"name": "spoke-thing", "version": "1.0.0", "main": "index.js"}
    data = packed(
        {"package/package.json": json.dumps(manifest).encode(), "package/index.js": b"module.exports = 42;\n"}
    )
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    for scheme in ("http", "https"):
        at = folder / f"npm-{scheme}"
        at.mkdir()
        (at / "spoke-thing-1.0.0.tgz").write_bytes(data)
        tarball = f"{scheme}://npm-{scheme}.{ALLOWED}/npm-{scheme}/spoke-thing-1.0.0.tgz"
        version = {**manifest, "dist": {"tarball": tarball, "integrity": integrity}}
        packument = {"name": "spoke-thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        (at / "spoke-thing").write_text(json.dumps(packument))


def packed(files):
    """A tar.gz of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def crate(folder):
    """A sparse registry with one crate. Its address is added by the client's configuration."""
    manifest = b'[package]\nname = "spoke-thing"\nversion = "1.0.0"\nedition = "2021"\n'
    data = packed(
        {"spoke-thing-1.0.0/Cargo.toml": manifest, "spoke-thing-1.0.0/src/lib.rs": b"pub const ANSWER: u8 = 42;\n"}
    )
    at = folder / "crates/sp/ok"
    at.mkdir(parents=True)
    entry = {
        "name": "spoke-thing",
        "vers": "1.0.0",
        "deps": [],
        "cksum": hashlib.sha256(data).hexdigest(),
        "features": {},
        "yanked": False,
    }
    (at / "spoke-thing").write_text(json.dumps(entry) + "\n")
    (folder / "crates/spoke-thing-1.0.0.crate").write_bytes(data)
    template = f"https://cargo.{ALLOWED}/crates/{{crate}}-{{version}}.crate"
    (folder / "crates/config.json").write_text(json.dumps({"dl": template}))


def repository(folder):
    """Bare repositories: one to clone, and one to push to; they can be cloned as plain files, too."""
    git = folder / "git"
    work = folder.parent / "work"
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    command(*run, "init", "-q", str(work))
    (work / "file").write_text("content of the repository\n")
    command(*run, "-C", str(work), "add", ".")
    command(*run, "-C", str(work), "commit", "-q", "-m", "one")
    for name in ("clone.git", "push.git"):
        command(*run, "clone", "-q", "--bare", str(work), str(git / name))
        command("git", "-C", str(git / name), "update-server-info")
        command("git", "-C", str(git / name), "config", "http.receivepack", "true")
    shutil.copytree(git / "clone.git", folder / "dumb.git")


def debs(folder):
    """A flat repository of more packages than apt asks for at a time."""
    apt = folder / "apt"
    apt.mkdir()
    packages = ""
    for number in range(DEBS):
        name = f"spoke-thing-{number}"
        tree = folder.parent / "debs" / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/share" / name).mkdir(parents=True)
        (tree / "usr/share" / name / "content").write_bytes(hashlib.sha512(name.encode()).digest() * 2000)
        control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: tests <t@example.org>\nDescription: a thing\n"
        (tree / "DEBIAN/control").write_text(control)
        file = apt / f"{name}.deb"
        command("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(file))
        data = file.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        packages += f"{control}Filename: ./{file.name}\nSize: {len(data)}\nSHA256: {digest}\n\n"
    (apt / "Packages").write_text(packages)
