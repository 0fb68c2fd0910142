"""See tests/page/run."""

import contextlib
import multiprocessing
import os
import pathlib
import re
import resource
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "rig"))
import traffic
from playwright.sync_api import expect, sync_playwright
from rig import ADMIN, GATE, Program, Services, resident

URL = f"http://{GATE}:{ADMIN}/"
TARGET = pathlib.Path(os.environ["CARGO_TARGET_DIR"])
SHOTS = TARGET / "page"
AXE = (TARGET / "npm/page/node_modules/axe-core/axe.min.js").read_text()
TOKEN = "0123456789abcdef0123456789abcdef"
# What an operator may have copied from anywhere.
NAMESPACE = "'><img src=x onerror=hacked=1>"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Page:
    """A tab of its own; whatever the browser complains about fails the check."""

    def __init__(self, browser, url=URL, **context):
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
        self.tab = self.context.new_page()
        self.complaints = []
        self.tab.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(url)

    def __enter__(self):
        return self.tab

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert not self.complaints, self.complaints


def refreshed(tab, times=1):
    """Waits until the script has fetched the page so often."""
    for _ in range(times):
        with tab.expect_response(lambda response: "/live?" in response.url, timeout=20000):
            pass
        tab.wait_for_timeout(50)


def number(text):
    return int(re.sub(r"\D", "", text))


@check
def it_reads_the_same_without_script(browser, connections):
    with Page(browser, java_script_enabled=False) as tab:
        assert number(tab.locator("#figures dd b").first.inner_text()) >= connections
        assert tab.locator("#open tbody tr").count() == min(200, connections)
        for section in ("history", "listeners", "endings", "refusals", "open", "names", "upstreams", "dns", "rules", "settings"):
            assert tab.locator(f"#{section}").inner_text().strip(), section
        assert tab.locator(".charts.minutes path.a").count() == 6
        expect(tab.locator(".charts.hours").first).to_be_hidden()
        tab.get_by_role("radio", name="24 hours").check()
        expect(tab.locator(".charts.hours").first).to_be_visible()
        tab.get_by_label("show").first.select_option("longest")
        tab.get_by_label("find").fill("service7.example.com")
        tab.locator("#which button").click()
        rows = tab.locator("#open tbody tr")
        assert 0 < rows.count() <= 200
        assert all("service7.example.com" in row for row in rows.all_inner_texts())


@check
def it_is_live_and_leaves_focus_sorting_and_search_alone(browser, connections):
    with Page(browser) as tab:
        time_shown = tab.locator("header time").inner_text()
        heading = tab.locator("#open thead").get_by_role("button", name="To client")
        heading.focus()
        tab.keyboard.press("Enter")
        refreshed(tab, 2)
        assert tab.locator("header time").inner_text() != time_shown
        assert tab.evaluate("document.activeElement.textContent") == "To client"
        assert tab.locator("#open th[aria-sort]").get_attribute("aria-sort") == "descending"
        moved = [int(v) for v in tab.eval_on_selector_all("#open tbody tr", "rows => rows.map(row => row.cells[6].dataset.v)")]
        assert moved == sorted(moved, reverse=True) and len(moved) > 1, moved
        tab.get_by_label("find").fill("192.0.2.17:")
        expect(tab.locator("#open p")).to_contain_text("of them match", timeout=10000)
        rows = tab.locator("#open tbody tr").all_inner_texts()
        assert len(rows) == len(range(17, connections, 250)) and all("192.0.2.17:" in row for row in rows), rows
        assert "find=192.0.2.17" in tab.url
        refreshed(tab)
        assert tab.get_by_label("find").input_value() == "192.0.2.17:"
        tab.get_by_role("button", name="Pause").click()
        shown = tab.locator("header time").inner_text()
        tab.wait_for_timeout(3000)
        assert tab.locator("header time").inner_text() == shown
        tab.get_by_role("button", name="Resume").click()
        refreshed(tab)


@check
def a_chart_says_its_values_to_pointer_and_keyboard(browser, _):
    with Page(browser) as tab:
        tab.wait_for_timeout(6000)
        plot = tab.locator(".minutes .plot").first
        box = plot.bounding_box()
        tab.mouse.move(box["x"] + box["width"] - 3, box["y"] + 20)
        expect(plot.locator(".tip")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d  [\d\u202f]+$"))
        tab.mouse.move(0, 0)
        expect(plot.locator(".tip")).to_have_count(0)
        plot.focus()
        tab.keyboard.press("ArrowLeft")
        expect(plot.locator(".tip")).to_be_visible()
        # A screen reader is told the same.
        assert tab.locator("#said").inner_text() == plot.locator(".tip").inner_text()
        refreshed(tab)
        expect(plot.locator(".tip")).to_be_visible()
        assert "highest" in plot.get_attribute("aria-label")


@check
def nothing_that_a_client_wrote_is_alive(browser, _):
    query = "?from=%22%3E%3Cimg%20src=x%20onerror=hacked=1%3E&to=%E2%80%AEx&find=%3Csvg%20onload=hacked=1%3E"
    for url in (URL, URL + query):
        with Page(browser, url) as tab:
            refreshed(tab, 2)
            assert tab.evaluate("typeof hacked") == "undefined"
            assert tab.locator("img, #hacked, main script, main iframe, [onload], [onerror]").count() == 0
            html = tab.content()
            bad = [hex(ord(c)) for c in html if c in "\u202e\u2066\u2069\u200b\ufeff\xad\0\x1b\x07\x9b"]
            assert not bad or url != URL, bad
    with Page(browser) as tab:
        # As text, once such clients have been there often enough to be among the first.
        missing = {"<script>hacked=1</script>", "<img src=x onerror=hacked=1>", "\\u{202e}", "\\u{1b}[31m", "{{7*7}}", NAMESPACE}
        deadline = time.monotonic() + 120
        while missing and time.monotonic() < deadline:
            shown = "".join(tab.locator(part).inner_text() for part in ("#refusals", "#names", "#settings"))
            missing = {part for part in missing if part not in shown}
            refreshed(tab)
        assert not missing, missing
        # A long one neither widens the page nor pushes other columns out of sight.
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


@check
def the_policy_of_the_page_lets_no_other_script_run(browser, _):
    with Page(browser) as tab:
        policy = tab.request.get(URL).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    page = Page(browser)
    page.tab.evaluate("const s = document.createElement('script'); s.textContent = 'hacked = 1'; document.body.append(s)")
    assert page.tab.evaluate("typeof hacked") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in page.complaints), page.complaints
    page.context.close()


@check
def axe_finds_nothing_in_light_and_dark_at_any_width(browser, _):
    for scheme, width in (("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)):
        with Page(browser, color_scheme=scheme, viewport={"width": width, "height": 844}) as tab:
            refreshed(tab)
            tab.get_by_role("button", name="Pause").click()
            tab.evaluate(AXE)
            found = tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")
            lines = [
                f"{scheme} {width} {one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}"
                for one in found["violations"]
            ]
            assert not lines, "\n".join(lines)
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{scheme} {width} is too wide"


@check
def words_and_addresses_are_whole_and_charts_stand_in_a_row(browser, _):
    with Page(browser, viewport={"width": 390, "height": 844}) as tab:
        refreshed(tab)
        lines = "cells => cells.map(cell => [cell.textContent, cell.getClientRects().length])"
        words = tab.locator("#endings code, #refusals td > code").evaluate_all(lines)
        assert len(words) > 10 and all(count == 1 for _, count in words), words
        broken = tab.locator("#listeners td, #refusals td:nth-child(2)").evaluate_all(
            """cells => cells.map(cell => {
                const range = document.createRange();
                range.selectNodeContents(cell);
                return [cell.textContent, range.getClientRects().length];
            })"""
        )
        assert len(broken) > 10 and all(count == 1 for _, count in broken), broken
    with Page(browser) as tab:
        bottoms = tab.locator(".minutes .plot").evaluate_all("all => all.map(one => one.getBoundingClientRect().bottom)")
        assert len(bottoms) == 6 and len(set(bottoms)) == 1, bottoms


@check
def everything_is_reached_by_the_tab_key(browser, _):
    with Page(browser) as tab:
        tab.get_by_role("button", name="Pause").click()
        reachable = tab.locator("a[href], button, input:not([type=radio]), select, .scroll, .plot, pre")
        wanted = sum(element.is_visible() for element in reachable.all()) + 1
        seen = set()
        tab.locator("body").click(position={"x": 1, "y": 1})
        for _ in range(wanted + 40):
            tab.keyboard.press("Tab")
            element = tab.evaluate(
                """() => {
                    const now = document.activeElement, style = getComputedStyle(now);
                    if (now === document.body) return null;
                    now.dataset.seen ??= Math.random();
                    return [now.dataset.seen, style.outlineStyle !== "none" && now.matches(":focus-visible"), now.outerHTML.slice(0, 80)];
                }"""
            )
            if element:
                assert element[1], f"no outline: {element[2]}"
                seen.add(element[0])
        # One of the two radio buttons has the focus for both.
        assert len(seen) >= wanted, f"{len(seen)} of {wanted}"


@check
def screenshots(browser, _):
    for scheme, width in (("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)):
        with Page(browser, color_scheme=scheme, viewport={"width": width, "height": 900}) as tab:
            refreshed(tab)
            tab.screenshot(path=SHOTS / f"{scheme}-{width}.png", full_page=True)


def costs(browser, program, quiet):
    """What a page that is open all the time costs the proxy. The clients are quiet meanwhile: their connections are open, and
    nothing else happens."""
    seconds, rounds = 10, 3

    def used():
        before = on_cpu(program.pid)
        time.sleep(seconds)
        after = on_cpu(program.pid)
        return [(after[part] - before[part]) / 1e6 / seconds for part in ("workers", "others")]

    quiet.set()
    time.sleep(10)
    closed, watched, memory = [], [], resident(program.pid)
    for _ in range(rounds):
        closed.append(used())
        with Page(browser) as tab:
            refreshed(tab)
            watched.append(used())
    more = resident(program.pid) - memory
    for part, name in enumerate(("workers together", "all other threads")):
        without, with_page = ([round(one[part], 2) for one in rows] for rows in (closed, watched))
        print(f"CPU of {name}, ms a second: {without} without the page, {with_page} with it open")
    print(f"memory: {more} KiB more")


def on_cpu(pid):
    """Nanoseconds that the threads have been on a CPU."""
    used = {"workers": 0, "others": 0}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        is_worker = (task / "comm").read_text().startswith("worker")
        used["workers" if is_worker else "others"] += int((task / "schedstat").read_text().split()[0])
    return used


@contextlib.contextmanager
def proxy(directory, admin=""):
    program = Program("latticegate", directory)
    config = program.directory / "latticegate.yaml"
    text = config.read_text().replace(f'bind: "{GATE}:{ADMIN}"', f'bind: "{GATE}:{ADMIN}"{admin}').replace("idle: 60s", "idle: 600s")
    config.write_text(text + f'metrics: {{ emf: {{ namespace: "{NAMESPACE}" }} }}\n')
    (program.directory / "token").write_text(TOKEN + "\n")
    with program.started(resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        yield program


def main():
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed = 0
    with tempfile.TemporaryDirectory() as directory, Services(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        first, second = (pathlib.Path(directory) / part for part in ("open", "token"))
        first.mkdir(), second.mkdir()
        with proxy(first) as program:
            ready, quiet = multiprocessing.Event(), multiprocessing.Event()
            clients = multiprocessing.Process(target=traffic.run, args=(connections, ready, quiet), daemon=True)
            clients.start()
            if not ready.wait(120):
                raise SystemExit("the connections are not open after two minutes")
            time.sleep(6)
            for function in CHECKS:
                failed += not passes(function.__name__, lambda: function(browser, connections))
            costs(browser, program, quiet)
            clients.kill()
        with proxy(second, ", token_file: token"):
            failed += not passes("a_browser_gets_in_with_the_token", lambda: token(browser))
        browser.close()
    print(f"screenshots: {SHOTS}")
    raise SystemExit(1 if failed else 0)


def token(browser):
    context = browser.new_context()
    assert context.request.get(URL).status == 401
    context.close()
    with Page(browser, http_credentials={"username": "anyone", "password": TOKEN}) as tab:
        assert "latticegate" in tab.title()
        # The script's requests have it too.
        refreshed(tab, 2)


def passes(name, work):
    try:
        work()
    except Exception as error:  # noqa: BLE001 each check stands for itself
        print(f"FAILED {name}: {str(error)[:2000]}", flush=True)
        return False
    print(f"ok     {name}", flush=True)
    return True


if __name__ == "__main__":
    main()
