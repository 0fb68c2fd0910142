"""The templates against the program: what they ask CloudWatch for is emitted, what they set in the environment is taken.

Names come from the running binary, not from a list here. tests/cfn/run builds it and says where it is (GATE_BINARY).
"""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import subprocess
import threading
import time
from pathlib import Path

import endpoint_proxy
import hub
import modes
import pytest
import resolve
from test_cost import EMF_LINE, REASON_LINE

CONF = modes.CFN.parent / "conf" / "latticegate.yaml"


@pytest.fixture(scope="module")
def binary():
    path = os.environ.get("GATE_BINARY")
    if not path:
        pytest.skip("GATE_BINARY names no binary (tests/cfn/run builds one)")
    return Path(path).resolve()


def environment_of(fleet):
    (container,) = fleet.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    return {e["Name"]: e["Value"] for e in container["Environment"]}


# ---------- the environment ----------
def check(binary, environment, conf=CONF):
    done = subprocess.run([binary, "check", "--strict", "--format", "json", "--config", conf], env=environment, capture_output=True, text=True, timeout=30)
    return done.returncode, json.loads(done.stdout)


def test_the_tasks_environment_is_taken(mode, fleet, binary):
    environment = environment_of(fleet)
    assert len([name for name in environment if name.startswith("LATTICEGATE_")]) >= 8
    code, report = check(binary, environment)
    assert (code, report["ok"], report["diagnostics"]) == (0, True, [])
    # It has read the list's place: the object itself is judged before it is published.
    assert environment["LATTICEGATE_POLICY"] in report["not_checked"][0]


@pytest.mark.parametrize("more", [{"LogFormat": "nginx"}, {"LogKeep": "failures"}, {"LogKeep": "sample 1/100", "LogFields": "time,client,name,rule,reason"}, {"LogKeep": "sample:100"}, {"PolicyKey": "edge/lists/ipcontrol.yaml"}, {"UpstreamNames": "{ a.example.com: b.example.net, c.example.com: d.example.net }"}, {"Listeners": "443"}], ids=str)
def test_options_of_the_environment_are_taken(binary, more):
    fleet = resolve.resolve(modes.ROOT, modes.Mode("BOTH", 3, "new", "ASSOCIATION", "off").parameters(**more))
    assert check(binary, environment_of(fleet))[0] == 0


SIBLINGS = [(hub.ROOT, form.parameters()) for form in hub.OFFERED if form.zones != 2] + [(endpoint_proxy.ROOT, form.parameters()) for form in endpoint_proxy.ALL if form.zones == 3 and not form.services]
SIBLINGS += [(hub.ROOT, hub.USUAL.parameters(**more)) for more in ({"MoreConnectPorts": "8443,9443"}, {"LogFormat": "squid"}, {"LogKeep": "sample 1/100"}, {"DeniedNetworks": "198.51.100.0/24,2001:db8::/32"})]


@pytest.mark.parametrize("root, given", SIBLINGS, ids=lambda v: getattr(v, "name", ""))
def test_the_environment_of_a_sibling_is_taken_with_its_configuration(binary, root, given):
    fleet = resolve.resolve(root, given, "latticegate-sibling")
    (container,) = fleet.one("AWS::ECS::TaskDefinition").properties["ContainerDefinitions"]
    # The file of the image that the task is started with.
    assert container["Command"][:2] == ["run", "--config"]
    conf = CONF.parent / Path(container["Command"][2]).name
    assert str(conf.name) in (CONF.parents[1] / "docker/build").read_text()
    code, report = check(binary, environment_of(fleet), conf)
    assert (code, report["ok"], report["diagnostics"]) == (0, True, [])
    # The listeners are those that have a target group.
    ports = {p["ContainerPort"] for p in container["PortMappings"]} - {9901}
    assert ports == {g.properties["Port"] for g in fleet.all("AWS::ElasticLoadBalancingV2::TargetGroup")}
    assert ports == {int(port) for port in re.findall(r"\[::\]:(\d+)", json.dumps(report))} - {9901}


@pytest.mark.parametrize("name, value", [("LATTICEGATE_METRICS__EMF__INTERVALL", "60s"), ("LATTICEGATE_POLICY_OWNER", "12")])
def test_invalid_values_are_reported(binary, name, value):
    environment = environment_of(resolve.resolve(modes.ROOT, modes.OFFERED[0].parameters())) | {name: value}
    code, report = check(binary, environment)
    assert code == 1 and name in json.dumps(report["diagnostics"])


def test_only_known_variables_beside_ours(fleet):
    assert [n for n in environment_of(fleet) if not n.startswith("LATTICEGATE_")] == ["AWS_REGION"]
    assert environment_of(fleet)["LATTICEGATE_POLICY_OWNER"] == f"'{resolve.ACCOUNT}'"


# ---------- metrics ----------
class Dns(socketserver.BaseRequestHandler):
    """A for orders.example.com, SERVFAIL for broken.example.com, NXDOMAIN for anything else."""

    def handle(self):
        query, server = self.request
        # Ends with the question: an additional record, if there is one, is not repeated.
        end = query.index(b"\0", 12) + 5
        question = query[12:end]
        known = question.startswith(b"\x06orders\x07example\x03com\0")
        if question.startswith(b"\x06broken\x07example\x03com\0"):
            server.sendto(query[:2] + b"\x81\x82\0\x01\0\0\0\0\0\0" + question, self.client_address)
            return
        answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton("127.0.0.1") if known and question[-4:-2] == b"\0\x01" else b""
        flags = b"\x81\x80" if known else b"\x81\x83"
        server.sendto(query[:2] + flags + b"\0\x01" + (b"\0\x01" if answer else b"\0\0") + b"\0\0\0\0" + question + answer, self.client_address)


class Upstream(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, host):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        said = b""
        while more := s.recv(4096):
            said += more
        return said


@pytest.fixture(scope="module")
def emf(binary, tmp_path_factory):
    """The lines of metrics that the binary writes, with the environment of the template."""
    directory = tmp_path_factory.mktemp("gate")
    dns, dns_port = serve(socketserver.ThreadingUDPServer(("127.0.0.1", 0), Dns))
    upstream, upstream_port = serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Upstream))
    port = free_port()
    (directory / "ipcontrol.yaml").write_text("rules:\n  - allow: 127.0.0.0/8\n")
    (directory / "latticegate.yaml").write_text(
        f"""
listeners:
  - {{ name: http, bind: "127.0.0.1:{port}", protocol: http, upstream_port: {upstream_port}, public_port: {port}, proxy_protocol: off }}
dns: {{ server: "127.0.0.1:{dns_port}", ipv6: off }}
upstream: {{ allowed_networks: [127.0.0.0/8] }}
health: {{ bind: "127.0.0.1:{free_port()}" }}
admin: {{ bind: "127.0.0.1:{free_port()}" }}
drain: {{ delay: 0s, timeout: 1s }}
"""
    )
    template = environment_of(resolve.resolve(modes.ROOT, modes.OFFERED[0].parameters()))
    environment = {k: v for k, v in template.items() if "__EMF__" in k} | {"LATTICEGATE_METRICS__EMF__INTERVAL": "200ms"}
    out = directory / "stdout"
    with out.open("w") as stdout:
        gate = subprocess.Popen([binary, "run", "--config", directory / "latticegate.yaml"], env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30

        def until(done):
            while not done():
                assert gate.poll() is None and time.monotonic() < deadline, out.read_text()
                time.sleep(0.05)

        def listening():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        until(listening)
        assert ask(port, "orders.example.com").endswith(b"hi")
        assert ask(port, "nothing.example.com").startswith(b"HTTP/1.1 404")
        assert ask(port, "broken.example.com").startswith(b"HTTP/1.1 50")

        def lines():
            # The last line may be half written.
            return [line for line in out.read_text().splitlines() if '"_aws"' in line and line.endswith("}")]

        until(lambda: any(name == "ConnectP99" for _, name, _ in metrics_of(lines())) and all(any((metric, ("reason", reason)) == (name, pair) for _, name, dimensions in metrics_of(lines()) for pair in dimensions) for metric, reason in (("Refused", "name_unknown"), ("Failed", "dns_failed"))))
        return lines()
    finally:
        gate.terminate()
        gate.wait(timeout=30)
        dns.shutdown()
        upstream.shutdown()


def metrics_of(lines):
    """(namespace, metric, dimensions)"""
    return {
        (directive["Namespace"], metric["Name"], tuple(sorted((name, line[name]) for name in names)))
        for line in map(json.loads, lines)
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for names in directive["Dimensions"]
    }


@pytest.fixture(scope="module")
def emitted(emf):
    return metrics_of(emf)


def test_the_size_of_the_lines_of_metrics(emf):
    """CloudWatch Logs bills them; docs/deploy.md counts them with these sizes."""
    reasons = [len(line) for line in emf if '"reason"' in line]
    others = [len(line) for line in emf if '"reason"' not in line]
    print(max(reasons), max(others))
    # Counters of a busy fleet are longer than those of this test: up to ten digits each.
    assert REASON_LINE - 60 <= max(reasons) <= REASON_LINE and EMF_LINE - 80 <= max(others) <= EMF_LINE


def expanded(rows):
    """A dashboard's metrics with "." (as above) and "..." (all as above) written out, options left out."""
    above: list[str] = []
    for row in rows:
        row = [cell for cell in row if not isinstance(cell, dict)]
        if row and row[0] == "...":
            row = above[: len(above) - len(row) + 1] + row[1:]
        row = [above[i] if cell == "." else cell for i, cell in enumerate(row)]
        if row:
            above = row
            yield row


def asked_for(fleet):
    """(where, namespace, metric, dimensions) of ours in alarms, scaling and dashboard."""
    for alarm in fleet.all("AWS::CloudWatch::Alarm"):
        metrics = [m["MetricStat"]["Metric"] for m in alarm.properties.get("Metrics", []) if "MetricStat" in m] or [alarm.properties]
        for m in metrics:
            # Which reasons there are is docs/reasons.md's to say (test_options); here, that there is a metric for each.
            yield alarm.name, m["Namespace"], m["MetricName"], tuple(sorted((d["Name"], None if d["Name"] == "reason" else d["Value"]) for d in m["Dimensions"]))
    for policy in fleet.all("AWS::ApplicationAutoScaling::ScalingPolicy"):
        m = policy.properties["TargetTrackingScalingPolicyConfiguration"].get("CustomizedMetricSpecification")
        if m:
            yield policy.name, m["Namespace"], m["MetricName"], tuple(sorted((d["Name"], d["Value"]) for d in m["Dimensions"]))
    for widget in json.loads(fleet.one("AWS::CloudWatch::Dashboard").properties["DashboardBody"])["widgets"]:
        for row in widget["properties"]["metrics"]:
            for option in row:
                if isinstance(option, dict) and "expression" in option:
                    namespace, names = re.search(r"\{([^,}]+),([^}]+)\}", option["expression"]).groups()
                    equal = dict(re.findall(r'(\w+)="([^"]+)"', option["expression"]))
                    yield "dashboard", namespace, equal["MetricName"], tuple((name, equal.get(name)) for name in sorted(names.split(",")))
        for row in expanded(widget["properties"]["metrics"]):
            yield "dashboard", row[0], row[1], tuple(sorted(zip(row[2::2], row[3::2])))


def missing(asked, emitted):
    """What is asked for and never written: same namespace, name and names of dimensions; same values where they are named."""
    for where, namespace, metric, dimensions in asked:
        wanted = {(name, value) for name, value in dimensions if value is not None}
        names = {name for name, _ in dimensions}
        if not any((n, m) == (namespace, metric) and {name for name, _ in d} == names and wanted <= set(d) for n, m, d in emitted):
            yield where, metric


def test_what_alarms_scaling_and_dashboard_ask_for_is_emitted(emitted):
    fleet = resolve.resolve(modes.ROOT, modes.OFFERED[0].parameters())
    asked = {a for a in asked_for(fleet) if a[1] == "latticegate"}
    assert not list(missing(asked, emitted))
    assert {a[0] for a in asked} == {"RefusedAlarm", "FailedAlarm", "UnreachableAlarm", "SilentAlarm", "DnsFailuresAlarm", "ConnectionsAlarm", "ListAlarm", "LimitsAlarm", "LinesLostAlarm", "RestartsAlarm", "ScaleOnConnections", "dashboard"}
    # The reasons are searched for, not named.
    assert ("reason", None) in {d for a in asked for d in a[3]}
    # And the other way round: nothing is paid for that is not used.
    assert {m for _, m, _ in emitted} - {m for _, _, m, _ in asked} == set()


@pytest.mark.parametrize(
    "wrong",
    [
        ("latticegate", "ActiveConnection", ("cluster", "service")),
        ("Latticegate", "ActiveConnections", ("cluster", "service")),
        ("latticegate", "ActiveConnections", ("cluster",)),
        ("latticegate", "ActiveConnections", ("cluster", "task")),
    ],
)
def test_a_mistake_in_name_namespace_or_dimension_is_noticed(emitted, wrong):
    namespace, metric, names = wrong
    assert list(missing([("alarm", namespace, metric, tuple((n, None) for n in names))], emitted)) == [("alarm", metric)]


def test_what_is_aws_own_is_what_the_balancer_and_the_service_have():
    fleet = resolve.resolve(modes.ROOT, modes.Mode("BOTH", 3, "new", "ASSOCIATION", "off").parameters())
    balancers = {r.id.split("loadbalancer/")[1] for r in fleet.all("AWS::ElasticLoadBalancingV2::LoadBalancer")}
    seen = set()
    for where, namespace, metric, dimensions in asked_for(fleet):
        d = dict(dimensions)
        if namespace == "AWS/NetworkELB":
            seen.add(metric)
            assert d["LoadBalancer"] in balancers, where
            by_zone = {"AvailabilityZone"} if where.startswith("ZoneWithoutTarget") else set()
            assert set(d) == ({"LoadBalancer", "TargetGroup"} | by_zone if metric == "HealthyHostCount" else {"LoadBalancer"})
        elif namespace == "AWS/ECS":
            seen.add(metric)
            assert d["ClusterName"] == fleet.one("AWS::ECS::Cluster").id
    assert seen == {"HealthyHostCount", "PortAllocationErrorCount", "NewFlowCount", "TCP_Target_Reset_Count", "CPUUtilization", "MemoryUtilization"}
