"""docs/deploy.md's cost table against what the templates make: a resource that is added, or another default, changes its figures.

The prices are those of the table below it, with their sources there; none could be checked against a price list.
"""

from __future__ import annotations

import math
import re

import endpoint_proxy
import hub
import modes
import pytest
import resolve
import test_isolated
import test_spoke

HOURS = 730
VCPU, GB = 0.03238, 0.00356  # Fargate Linux/ARM, an hour
NLB, NLCU = 0.0225, 0.006
ENDPOINT, IPV4 = 0.01, 0.005
ALARM_METRIC, DASHBOARD, METRIC = 0.10, 3.00, 0.30
S3_GET = 0.0004 / 1000
LOG_GB = 0.50
EVENT = 26  # bytes that CloudWatch adds to each line
EMF_METRICS, REASONS = 14, 12
# Bytes of the line of metrics that a task writes each minute, and of the one for each reason that occurred in it (test_binary).
EMF_LINE, REASON_LINE = 1040, 350

DOC = (modes.CFN.parent / "docs/deploy.md").read_text()
COSTS = DOC[DOC.index("## Cost") : DOC.index("| price | source |")]
STATED = 200.52  # what the guidance says it costs


def priced(**more):
    """The rows of the table, by their first words, of a fleet in three zones with both load balancers."""
    fleet = resolve.resolve(modes.ROOT, modes.Mode("BOTH", 3, "new", "ASSOCIATION", "off").parameters(**more))
    return rows(fleet)


def rows(fleet):
    task = fleet.one("AWS::ECS::TaskDefinition").properties
    tasks = int(fleet.one("AWS::ApplicationAutoScaling::ScalableTarget").properties["MinCapacity"])
    balancers = [b.properties for b in fleet.all("AWS::ElasticLoadBalancingV2::LoadBalancer")]
    interfaces = [e.properties["SubnetIds"] for e in fleet.all("AWS::EC2::VPCEndpoint") if e.properties["VpcEndpointType"] == "Interface"]
    # An alarm costs by the metrics it reads; a target-tracking policy makes two of one each.
    metrics = sum(len([m for m in a.properties.get("Metrics", [0]) if not m or "MetricStat" in m]) for a in fleet.all("AWS::CloudWatch::Alarm"))
    tracking = 2 * len(fleet.all("AWS::ApplicationAutoScaling::ScalingPolicy"))
    assert fleet.one("AWS::ECS::Cluster").properties["ClusterSettings"][0]["Value"] == "disabled"
    exact = {
        "Fargate ARM": tasks * (int(task["Cpu"]) / 1024 * VCPU + int(task["Memory"]) / 1024 * GB) * HOURS,
        "NLB": len(balancers) * (NLB + NLCU) * HOURS,
        "interface endpoints": sum(map(len, interfaces)) * ENDPOINT * HOURS,
        "public IPv4": sum(len(b["Subnets"]) for b in balancers if b["Scheme"] == "internet-facing") * IPV4 * HOURS,
        "alarms": (metrics + tracking) * ALARM_METRIC,
        "dashboard": len(fleet.all("AWS::CloudWatch::Dashboard")) * DASHBOARD,
        "custom metrics": (EMF_METRICS + REASONS) * METRIC,
        "the lines of metrics": tasks * HOURS * 60 * (EMF_LINE + EVENT + REASONS * (REASON_LINE + EVENT)) / 1e9 * LOG_GB,
        "requests for the access list": tasks * HOURS * 3600 / 10 * S3_GET,
    }
    return {words: cents(usd) for words, usd in exact.items()}


def cents(usd):
    """Half a cent is a cent; sums are of whole cents, so that a reader who adds the rows up gets them."""
    return math.floor(usd * 100 + 0.5 + 1e-6) / 100


def written(first_words):
    """The figures of a row of the table: guidance said and recomputed, ours, ours at its size."""
    (row,) = re.findall(rf"^\| \**{re.escape(first_words)}[^|]*\|(.+)\|$", COSTS, re.M)
    cells = [c.strip(" *") for c in row.split("|")]
    assert len(cells) == 4, row
    return [float(c.split(" ")[0]) if re.match(r"[0-9]", c) else 0.0 for c in cells]


def near(a, b):
    """To the cent."""
    return abs(a - b) < 0.001


@pytest.mark.parametrize("column, more", [(2, {}), (3, {"TaskSize": "2vCPU-4GB"})], ids=["default", "the guidance's size"])
def test_our_columns(column, more):
    made = priced(**more)
    for words, price in made.items():
        assert near(written(words)[column], price), (words, price)
    assert near(written("month")[column], sum(made.values())), sum(made.values())
    assert near(written("the guidance's three rows")[column], made["Fargate ARM"] + made["NLB"] + made["interface endpoints"])


def test_every_column_adds_up():
    three = ["Fargate ARM", "NLB", "interface endpoints"]
    for column in range(4):
        assert near(written("the guidance's three rows")[column], sum(written(w)[column] for w in three))
        assert near(written("month")[column], sum(written(w)[column] for w in priced()))


def test_the_claim():
    """Below what the guidance states, with everything counted that it leaves out; not at its size."""
    assert sum(priced().values()) < STATED < sum(priced(TaskSize="2vCPU-4GB").values())
    assert f"**The default costs less than the ${STATED}" in DOC


def test_the_number_of_alarms():
    fleet = resolve.resolve(modes.ROOT, modes.Mode("BOTH", 3, "new", "ASSOCIATION", "off").parameters())
    alarms, metrics = re.search(r"^\| alarms: \d+ metrics in (\d+) alarms, 4 of them", DOC, re.M), re.search(r"^\| alarms: (\d+) metrics", DOC, re.M)
    assert int(alarms[1]) == len(fleet.all("AWS::CloudWatch::Alarm")) + 4
    assert near(int(metrics[1]) * ALARM_METRIC, rows(fleet)["alarms"])


def test_what_is_saved():
    both = sum(priced().values())
    private = resolve.resolve(modes.ROOT, modes.Mode("PRIVATE", 3, "new", "ASSOCIATION", "off").parameters())
    saved = float(re.search(r"`PRIVATE` alone saves one load balancer, the addresses and its alarms \(−([0-9.]+)\)", DOC)[1])
    assert near(saved, both - sum(rows(private).values()))
    two = rows(resolve.resolve(modes.ROOT, modes.Mode("BOTH", 2, "new", "ASSOCIATION", "off").parameters()))
    assert near(float(re.search(r"a third of the endpoints \(−([0-9.]+)\)", DOC)[1]), priced()["interface endpoints"] - two["interface endpoints"])


@pytest.mark.parametrize("size", ["2vCPU-4GB", "1vCPU-2GB", "0.5vCPU-1GB", "0.25vCPU-0.5GB"])
def test_the_table_of_sizes(size):
    fleet = resolve.resolve(modes.ROOT, modes.Mode("BOTH", 3, "new", "ASSOCIATION", "off").parameters(TaskSize=size))
    (policy,) = [p for p in fleet.all("AWS::ApplicationAutoScaling::ScalingPolicy") if p.name == "ScaleOnConnections"]
    target = policy.properties["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
    (row,) = re.findall(rf"^\| \**{re.escape(size)}\**[^|]*\| ([0-9 ]+) \| ([0-9.]+) \|$", DOC, re.M)
    assert row[0].replace(" ", "") == str(target) and near(float(row[1]), rows(fleet)["Fargate ARM"])


JSON, NGINX = 499, 103  # bytes of a line of the access log: src/telemetry/access_log/line/tests.rs writes them


def log_month(rate, size):
    """What the access log costs at so many connections a second."""
    return rate * HOURS * 3600 * (size + EVENT) / 1e9 * LOG_GB


@pytest.mark.parametrize("words, size", [("`LogFormat=json`", JSON), ("`LogFormat=nginx`", NGINX), ("the guidance's nginx", NGINX)])
def test_logs(words, size):
    (row,) = re.findall(rf"^\| {re.escape(words)}[^|]*\|(.+)\|$", DOC, re.M)
    figures = [float(c.replace(" ", "")) for c in row.split("|")]
    assert figures == [round(log_month(rate, size)) for rate in (100, 300, 3000)]


def test_what_each_choice_of_lines_and_fields_costs():
    """The table of docs/access-log.md: 3 000 connections a second, of which one in a hundred is refused. Its bytes are held by the test
    that writes the lines."""
    page = (modes.CFN.parent / "docs/access-log.md").read_text()
    table = page[page.index("| `keep`, `format`, `fields` |") : page.index("The nginx guidance's own log")]
    rows = re.findall(r"^\| `([a-z0-9 /]+)`, `(json|nginx)`([^|]*)\| (\d+) \| ([0-9.]+) \| (\d+) \|$", table, re.M)
    assert len(rows) == len(table.strip().splitlines()) - 2 >= 8
    for keep, format, more, size, lines, price in rows:
        sample = re.fullmatch(r"sample 1/(\d+)", keep)
        kept = 3000 if keep == "all" else 30 + (2970 / int(sample[1]) if sample else 0)
        # The first worker's line a second, and the second's.
        kept += 2 if "flood" in more else 0
        assert float(lines) == round(kept, 1) and int(price) == round(log_month(kept, int(size))), (keep, more)
        assert int(size) == {"json": JSON, "nginx": NGINX}[format] or "fields" in more
    # The claim of the issue that asked for this.
    assert log_month(3000, JSON) > 2000 and 500 < log_month(3000, NGINX) < 530


def test_where_the_log_outweighs():
    """It once said "some ten connections a second" where its own table had 63; and the claim has a limit, too."""
    made = priced()
    reserve = STATED - sum(made.values())
    tasks = [int(made["Fargate ARM"] / log_month(1, size)) for size in (JSON, NGINX)]
    claim = [int(reserve / log_month(1, size)) for size in (JSON, NGINX)]
    assert f"Above {tasks[0]} connections a second the JSON log costs more than its tasks (`LogFormat=nginx`: {tasks[1]})" in re.sub(r"\s+", " ", DOC)
    assert f"The difference of {reserve:.2f} pays for the log of {claim[0]} connections a second as JSON, of {claim[1]} in nginx's format" in re.sub(r"\s+", " ", DOC)


# ---------- figures that are measured elsewhere ----------
PERFORMANCE = (modes.CFN.parent / "docs/performance.md").read_text()
TEXT = re.sub(r"\s+", " ", DOC)


def measured(row):
    """latticegate's cell of a row of docs/performance.md, the last one."""
    (cells,) = re.findall(rf"^\| {re.escape(row)} \|(.+)\|$", PERFORMANCE, re.M)[:1] or [None]
    return float(cells.split("|")[-1].split()[0])


def quota_table():
    """(program, microseconds of CPU a connection) of the table of half a vCPU."""
    rows = re.findall(r"^\| [0-9 ]+ \| (nginx|latticegate) \|[^|]*\|[^|]*\| ([0-9]+) µs \|", DOC, re.M)
    assert len(rows) == 4
    return [(program, int(us)) for program, us in rows]


def dearest():
    return max(us for program, us in quota_table() if program == "latticegate")


def test_what_half_a_vcpu_handles_is_computed_from_the_table_below():
    said = [f"{0.5e6 / dearest() * share // 100 * 100:,.0f}".replace(",", " ") for share in (1, 0.7)]
    assert f"{dearest()} µs at most, so half a vCPU handles {said[0]} a second at the limit, {said[1]} at the scaling target of 70 %" in TEXT


def test_memory_is_an_upper_bound_of_what_is_measured():
    bound = int(re.search(r"taken as (\d+) KB in the program", TEXT)[1])
    assert measured("by idle connection, bytes") <= bound * 1000
    assert f"{bound} KB in the program" in (modes.CFN / "proxy.yaml").read_text()


def test_the_other_page_repeats_the_table_as_it_is():
    rows = dict(re.findall(r"^\| 1 000 \| (\w+) \| ([0-9.]+ ms \| [0-9.]+) ms", DOC, re.M))
    for ours, ours99, theirs, theirs99 in re.findall(r"p50 ([0-9.]+) ms and p99 ([0-9.]+) ms, nginx ([0-9.]+) and ([0-9.]+) ms \(\[deploy.md\]", PERFORMANCE):
        assert rows == {"latticegate": f"{ours} ms | {ours99}", "nginx": f"{theirs} ms | {theirs99}"}


def test_prices_stand_in_the_table_of_sources():
    table = DOC[DOC.index("| price | source | date |") :]
    for price in (VCPU, GB, NLB, NLCU, ENDPOINT, IPV4, ALARM_METRIC, DASHBOARD, METRIC, 0.0004, LOG_GB):
        text = f"{price:.2f}" if price in (ALARM_METRIC, DASHBOARD, METRIC, LOG_GB, ENDPOINT) else f"{price}"
        assert re.search(rf"(?<![0-9.]){re.escape(text)}(?![0-9])", table), text


# ---------- the sibling designs ----------
NAT = 0.045
SIBLING_ROWS = ("alarms", "dashboard", "custom metrics", "the lines of metrics", "requests for the access list")


def endpoint_month(stack):
    return sum(len(e.properties["SubnetIds"]) for e in stack.all("AWS::EC2::VPCEndpoint") if e.properties["VpcEndpointType"] == "Interface") * ENDPOINT * HOURS


def test_the_table_of_the_hub():
    doc = (modes.CFN.parent / "docs/egress.md").read_text()
    table = {words.strip("* "): float(price.strip("* ")) for words, price in re.findall(r"^\| ([^|]+) \| \**([0-9.]+)\** \|$", doc[doc.index("### What it costs") :], re.M)}
    fleet = resolve.resolve(hub.ROOT, hub.USUAL.parameters())
    made = rows(fleet)
    wanted = {
        "Fargate ARM": made["Fargate ARM"],
        "NLB": made["NLB"],
        "NAT gateways": len(fleet.all("AWS::EC2::NatGateway")) * NAT * HOURS,
        "public IPv4": len(fleet.all("AWS::EC2::EIP")) * IPV4 * HOURS,
        "alarms": sum(made[words] for words in SIBLING_ROWS),
        "each spoke": endpoint_month(resolve.resolve(test_spoke.ROOT, test_spoke.ALWAYS | {"SubnetIds": "subnet-1,subnet-2,subnet-3"})),
    }
    for words, price in wanted.items():
        (written,) = [p for w, p in table.items() if w.startswith(words)]
        assert near(written, price), (words, price)
    hub_month = sum(p for w, p in wanted.items() if w != "each spoke")
    assert near(table["the hub"], hub_month) and made["interface endpoints"] == 0
    single = resolve.resolve(hub.ROOT, hub.USUAL.parameters(NatGateways="single"))
    assert f"(`NatGateways=single`: {len(single.all('AWS::EC2::NatGateway')) * NAT * HOURS:.2f})" in doc
    assert f"replaces thirty NAT gateways ({30 * NAT * HOURS:.2f}) by three and ten endpoints ({wanted['NAT gateways'] + 10 * wanted['each spoke']:.2f} with" in doc.replace("\n", " ")


def test_the_figures_of_the_endpoint_designs():
    doc = (modes.CFN.parent / "docs/vpc-endpoints.md").read_text()
    proxy = resolve.resolve(endpoint_proxy.ROOT, endpoint_proxy.USUAL.parameters(Services=""))
    gateway = resolve.resolve(endpoint_proxy.ROOT, endpoint_proxy.Proxy(3, "gateway", "", "443", "off").parameters())
    made = rows(proxy)
    said = re.search(r"([0-9.]+) a month with S3 by an interface endpoint \(([0-9.]+) tasks, ([0-9.]+) load balancer, ([0-9.]+) for the endpoints.*?\s([0-9.]+) alarms.*?\), ([0-9.]+) with `S3Access=gateway`", doc, re.S)
    wanted = (sum(made.values()), made["Fargate ARM"], made["NLB"], made["interface endpoints"], sum(made[w] for w in SIBLING_ROWS), sum(rows(gateway).values()))
    assert all(near(float(a), b) for a, b in zip(said.groups(), wanted, strict=True)), wanted
    isolated = resolve.resolve(test_isolated.ROOT, test_isolated.parameters())
    assert f"five interface endpoints in three zones {endpoint_month(isolated):.2f} a month" in doc
