"""The dashboard in a real Chromium: what a person sees while a tree lives, crashes and ends."""

from __future__ import annotations

import queue
import re
import shutil
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
from helpers.http_client import child, open_both, port_of

from trio_supervisor import (
    BackoffPolicy,
    ChildContext,
    ChildSpec,
    RestartLimit,
    Supervisor,
    SupervisorSpec,
    TaskFailure,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed here; the extra `dev` brings it"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no Chromium on this machine", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Playwright's own
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = "<img src=x onerror=alert(1)><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield found
        found.close()


class Tree:
    """A tree that runs in a thread of its own, for a test that drives a browser."""

    def __init__(self, spec: SupervisorSpec, port: int = 0) -> None:
        self._spec = spec
        self._ready: queue.Queue[object] = queue.Queue()
        self._port = port
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: ASYNC103
            self._ready.put(error)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._end = trio.Event()
        async with open_both(self._spec, address=self._port, wait_ready=False) as (server, app):
            self.server, self.supervisor = server, app
            self._ready.put(port_of(server))
            await self._end.wait()

    def open(self) -> int:
        self._thread.start()
        found = self._ready.get(timeout=20)
        assert isinstance(found, int), found
        return found

    def do(self, act: Callable[[Supervisor], Any]) -> None:
        """Call ``act`` in Trio's thread; what it returns is awaited."""

        async def run() -> None:
            result = act(self.supervisor)
            if result is not None:
                await result
            await trio.lowlevel.checkpoint()

        trio.from_thread.run(run, trio_token=self._token)

    def close(self) -> None:
        if self._thread.is_alive():
            trio.from_thread.run_sync(self._end.set, trio_token=self._token)
            self._thread.join(20)


@contextmanager
def shown(browser: Browser, spec: SupervisorSpec, **options: Any) -> Iterator[tuple[Page, Tree]]:
    tree = Tree(spec)
    port = tree.open()
    page = browser.new_page(viewport={"width": 1300, "height": 900}, **options)
    problems: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.set_default_timeout(15_000)
    try:
        page.goto(f"http://127.0.0.1:{port}/")
        yield page, tree
        assert not problems
        assert all(url.startswith(f"http://127.0.0.1:{port}/") for url in requests)
    finally:
        page.close()
        tree.close()


def row(page: Page, name: str) -> Any:
    return page.get_by_role("treeitem").filter(has=page.locator(f'.name:text-is("{name}")'))


def expect(locator: Any) -> Any:
    return sync_api.expect(locator)


def test_a_crash_appears_on_the_page_while_it_happens_with_its_cause(browser: Browser) -> None:
    gate = threading.Event()

    async def feed(child: ChildContext) -> None:
        child.ready()
        while not gate.is_set():  # noqa: ASYNC110 - set in another thread
            await trio.sleep(0.05)
        raise ConnectionResetError(104, "Connection reset by peer")

    patient = BackoffPolicy(initial=30, maximum=30)
    spec = ChildSpec("feed", feed, readiness="explicit", backoff=patient)
    with shown(browser, SupervisorSpec("app", [child("store"), spec])) as (page, _):
        expect(row(page, "feed")).to_contain_text("ready")
        expect(page.locator("#problems")).to_contain_text("Nothing")
        gate.set()
        expect(row(page, "feed")).to_contain_text("backing off")
        problem = page.locator("#problems li")
        expect(problem).to_contain_text("app/feed")
        expect(problem).to_contain_text("Connection reset by peer")
        expect(problem).to_contain_text(re.compile(r"starts again in [12]\d s"))
        expect(problem).to_contain_text("1/10 in 120 s")
        expect(page).to_have_title(re.compile(r"^\(1\) app"))
        expect(page.locator("#rows tr.fail")).to_contain_text("crashed")
        row(page, "feed").click()
        pane = page.locator("#dbody")
        expect(pane).to_contain_text("Traceback")
        expect(pane).to_contain_text("in feed")
        expect(pane).to_contain_text("It starts again at ")
        expect(pane).to_contain_text(re.compile(r"starts again in[12]\d s"))
        expect(pane.get_by_label("1 of 10 restarts used")).to_be_visible()
        expect(pane.get_by_role("row")).to_have_count(2)  # the head, and the one attempt
        expect(pane.get_by_role("row").last).to_contain_text("✕ crashed: ConnectionResetError")
        timeline = page.get_by_label(re.compile(r"^Timeline of the last .*: app/feed 1 failures$"))
        expect(timeline).to_be_visible()
        row(page, "store").click()
        expect(pane).to_contain_text("in serve() [app/store#1]")


def test_names_reasons_and_messages_stay_text(browser: Browser) -> None:
    async def fail(child: ChildContext) -> None:
        child.ready()
        raise TaskFailure(HOSTILE)

    name = HOSTILE.replace("/", "|")
    spec = ChildSpec(name, fail, readiness="explicit", backoff=BackoffPolicy.delays(30))
    with shown(browser, SupervisorSpec("app", [child("other"), spec])) as (page, tree):
        expect(page.locator("#problems li")).to_contain_text(HOSTILE)
        tree.do(lambda app: app.stop_child("other", reason=HOSTILE))
        expect(page.locator("#rows")).to_contain_text(f"stop: {HOSTILE}")
        page.locator("#problems li .path").first.click()
        expect(page.locator("#dbody")).to_contain_text(HOSTILE)
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 1
        assert "owned" not in page.title()


def test_a_pool_of_five_thousand_stays_fluid_and_is_listed_a_piece_at_a_time(
    browser: Browser,
) -> None:
    async def fill(app: Supervisor) -> None:
        pool = await app.child("pool").wait_ready()
        for number in range(5000):
            pool.start_child_soon(ChildSpec(f"c-{number}", plain(trio.sleep_forever)))
            if number % 250 == 0:
                await trio.lowlevel.checkpoint()

    with shown(browser, SupervisorSpec("app", [SupervisorSpec("pool")])) as (page, tree):
        tree.do(fill)
        expect(page.locator("#summary")).to_contain_text("5,001 children: 5,001 ready")
        assert page.locator(".row").count() < 10
        page.get_by_role("treeitem").filter(has_text="more, all ready").click()
        expect(page.locator("#dbody .pager")).to_contain_text("1 to 50 of 5,000")
        page.get_by_role("button", name="next").click()
        expect(page.locator("#dbody")).to_contain_text("c-99")
        page.get_by_label("Name contains").fill("c-4321")
        expect(page.locator("#dbody .pager")).to_contain_text("1 to 1 of 1")
        tree.do(lambda app: app.child("pool").value.stop_child("c-4321"))
        # Frames go on while the tree changes.
        frames = page.evaluate(
            "() => new Promise((done) => { let n = 0; const end = performance.now() + 1000;"
            " const step = () => { n += 1; performance.now() < end ? requestAnimationFrame(step)"
            " : done(n); }; step(); })"
        )
        assert frames > 10
        assert page.locator("*").count() < 5000


def test_a_lost_connection_is_shown_and_found_again(browser: Browser) -> None:
    spec = SupervisorSpec("app", [child("store")])
    with shown(browser, spec) as (page, tree):
        expect(row(page, "store")).to_contain_text("ready")
        port = port_of(tree.server)
        tree.close()
        expect(page.locator("#lost")).to_contain_text("Connection lost")
        second = Tree(SupervisorSpec("app", [child("store"), child("new")]), port)
        second.open()
        try:
            expect(page.locator("#lost")).to_be_hidden()
            expect(row(page, "new")).to_contain_text("ready")
        finally:
            second.close()


def test_a_stop_shows_the_child_that_hangs_and_where(browser: Browser) -> None:
    release = threading.Event()

    async def hang(child: ChildContext) -> None:
        child.ready()
        await child.wait_stop_requested()
        with trio.CancelScope(shield=True):
            while not release.is_set():  # noqa: ASYNC110 - set in another thread
                await trio.sleep(0.05)

    spec = ChildSpec("queue", hang, readiness="explicit", grace=0.1)
    tree_spec = SupervisorSpec("app", [spec, child("web")], report_after=0.2)
    with shown(browser, tree_spec) as (page, tree):
        expect(row(page, "queue")).to_contain_text("ready")
        tree.do(lambda app: app.request_shutdown("SIGTERM"))
        expect(page.locator("#status")).to_contain_text("stopping")
        expect(page.locator("#problems li")).to_contain_text("unresponsive")
        page.locator("#problems li .path").click()
        expect(page.locator("#dbody pre").first).to_contain_text("in hang()")
        release.set()
        expect(page.locator("#status")).to_contain_text("finished")


def test_details_follow_the_child_however_often_it_changes(browser: Browser) -> None:
    gate = threading.Event()

    async def feed(child: ChildContext) -> None:
        child.ready()
        while not gate.is_set():  # noqa: ASYNC110 - set in another thread
            await trio.sleep(0.05)
        raise ConnectionResetError(104, "Connection reset by peer")

    spec = ChildSpec("feed", feed, readiness="explicit", backoff=BackoffPolicy.delays(600))
    with shown(browser, SupervisorSpec("app", [spec])) as (page, _):
        row(page, "feed").click()
        expect(page.locator("#dbody")).to_contain_text("is ready since")
        page.evaluate("asked = performance.now(); refreshDetail(); setTimeout(refreshDetail, 200)")
        gate.set()
        expect(page.locator("#dbody .s-backing_off")).to_be_visible()


def test_many_children_that_wait_take_one_line_below_what_has_failed(browser: Browser) -> None:
    async def never(child: ChildContext) -> None:
        await child.wait_stop_requested()

    async def broken(child: ChildContext) -> None:
        raise PermissionError(13, "Permission denied")

    disk = ChildSpec(
        "disk", broken, restart_limit=RestartLimit(1, within=60), on_limit="quarantine"
    )
    pool = SupervisorSpec("pool", [child(f"w-{number}") for number in range(70)])
    first = ChildSpec("store", never, readiness="explicit")
    later = [child(f"c-{number}") for number in range(40)]
    with shown(browser, SupervisorSpec("app", [disk, pool, first, *later])) as (page, _):
        lines = page.locator("#problems li")
        expect(lines.nth(1)).to_contain_text("40 children")
        expect(lines.nth(0)).to_contain_text("PermissionError")
        expect(lines.nth(0)).to_contain_text(" · quarantined at ")
        expect(lines.nth(1)).to_contain_text("wait for store")
        expect(lines.nth(2)).to_contain_text("app/store")
        expect(lines).to_have_count(3)
        assert page.title().startswith("(1) "), "only what has failed is counted"
        expect(row(page, "pool")).to_have_attribute("aria-expanded", "false")


def test_thousands_of_children_that_are_stopped_at_once_take_one_line(browser: Browser) -> None:
    release = threading.Event()

    async def serve(child: ChildContext) -> None:
        child.ready()
        await child.wait_stop_requested()
        while not release.is_set():  # noqa: ASYNC110 - set in another thread
            await trio.sleep(0.2)

    workers = [
        ChildSpec(f"w-{number}", serve, readiness="explicit", grace=60) for number in range(2000)
    ]
    pool = SupervisorSpec("pool", workers, ordering="graph")
    with shown(browser, SupervisorSpec("app", [child("store"), pool])) as (page, tree):
        expect(page.locator("#summary")).to_contain_text("2,002 children: 2,002 ready")
        tree.do(lambda app: app.request_shutdown("SIGTERM"))
        line = page.locator("#problems li")
        expect(line).to_contain_text("2,001 children")  # the pool is the one more
        expect(line).to_contain_text("are being stopped · reason: SIGTERM")
        expect(line).to_contain_text("longest for ")
        expect(page.locator("#problems")).to_have_class("good")
        expect(page.locator("#problems .none")).to_have_text("✓ No failure. The tree is stopping:")
        assert page.locator("*").count() < 5000
        assert page.title().startswith("app"), "a stop is no failure"
        release.set()
        expect(page.locator("#status")).to_contain_text("finished")
        expect(line).to_have_count(0)


WATCH = """() => { seen = []; setInterval(() => {
  const line = document.querySelector("#problems li"), node = nodes.get("app/feed");
  seen.push({
    frame: document.querySelector("#problems").className, title: document.title.slice(0, 3),
    badge: line ? line.children[0].textContent.trim() : "",
    text: line ? line.children[2].textContent : "", state: node.state,
    settled: now() >= (node.settles ?? Infinity),
  });
}, 20); }"""


def test_a_crash_loop_is_shown_steadily_until_the_child_has_recovered(browser: Browser) -> None:
    recovers = threading.Event()

    async def feed(child: ChildContext) -> None:
        child.ready()
        await trio.sleep(0.3)
        if not recovers.is_set():
            raise ConnectionResetError(104, "Connection reset by peer")
        await child.wait_stop_requested()

    lasting = BackoffPolicy.delays(0.3, reset_after=1)
    spec = ChildSpec("feed", feed, readiness="explicit", restart_limit=None, backoff=lasting)
    with shown(browser, SupervisorSpec("app", [child("store"), spec])) as (page, _):
        line = page.locator("#problems li")
        expect(line).to_contain_text(
            re.compile(r"\d failures in a row, the first at "), timeout=20_000
        )
        page.evaluate(WATCH)
        for _ in range(200):  # until the page has shown it both up and down; seldom more than two
            if page.evaluate("new Set(seen.map(each => each.state)).size") > 1:
                break
            page.wait_for_timeout(100)
        recovers.set()
        expect(page.locator("#problems")).to_have_class("good")
        seen = page.evaluate("seen")
    looping = [each for each in seen if each["frame"] != "good"]
    assert {each["state"] for each in looping} >= {"ready", "backing_off"}, "it came and went"
    assert {(each["frame"], each["title"]) for each in looping} == {("bad", "(1)")}
    assert {each["badge"] for each in looping} == {"↻ crash loop"}
    said = re.compile(
        r"crashed: ConnectionResetError: \[Errno 104\] Connection reset by peer · "
        r"(\d+) failures in a row, the first at (\d\d:\d\d:\d\d) · "
    )
    found = [said.match(each["text"]) for each in looping]
    assert all(found), {each["text"] for each in looping}
    assert len({each[2] for each in found if each}) == 1
    # Good again once the supervisor itself forgets the failures, and not before.
    assert len(looping) < len(seen)
    assert all(each["settled"] for each in seen if each["frame"] == "good")


def test_it_can_be_used_with_the_keyboard(browser: Browser) -> None:
    spec = SupervisorSpec("app", [child("a"), SupervisorSpec("inner", [child("b")])])
    with shown(browser, spec) as (page, _):
        expect(row(page, "b")).to_be_visible()
        row(page, "app").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.dataset.path") == "app/inner"
        page.keyboard.press("ArrowLeft")
        expect(row(page, "b")).to_have_count(0)
        expect(row(page, "inner")).to_have_attribute("aria-expanded", "false")
        page.keyboard.press("ArrowRight")
        expect(row(page, "b")).to_be_visible()
        page.keyboard.press("Enter")
        expect(row(page, "inner")).to_have_attribute("aria-selected", "true")
        expect(page.locator("#dbody")).to_contain_text("app/inner")


def test_events_are_filtered_and_held(browser: Browser) -> None:
    with shown(browser, SupervisorSpec("app", [child("a"), child("b")])) as (page, tree):
        expect(page.locator("#rows")).to_contain_text("app/b")
        page.locator("#filter").fill("app/a")
        expect(page.locator("#rows")).not_to_contain_text("app/b")
        page.get_by_role("button", name="Pause").click()
        tree.do(lambda app: app.stop_child("a"))
        expect(row(page, "a")).to_contain_text("stopped")
        expect(page.locator("#rows")).not_to_contain_text("stop requested")
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#rows")).to_contain_text("stop requested")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_state_can_be_told_from_the_background(browser: Browser, scheme: Any) -> None:
    spec = SupervisorSpec("app", [child("a")])
    with shown(browser, spec, color_scheme=scheme) as (page, _):
        expect(row(page, "a")).to_contain_text("✓")
        ratios = page.evaluate(
            """() => {
              const probe = document.createElement("span"); document.body.append(probe);
              const parts = (value) => { probe.style.color = value;
                return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number); };
              const light = (rgb) => { const [r, g, b] = rgb.map((v) => { v /= 255;
                return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
              const under = light(parts("var(--card)")); const found = {};
              for (const name of ["text", "soft", "accent", "ready", "done", "starting", "waiting",
                "not_ready", "stopping", "backing_off", "stopped", "quarantined", "bad"]) {
                const over = light(parts(`var(--${name})`));
                found[name] = (Math.max(over, under) + 0.05) / (Math.min(over, under) + 0.05);
              }
              return found; }"""
        )
        assert len(ratios) == 13
        assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
