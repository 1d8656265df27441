"""The page in a browser: what it shows, that titles stay text, and that everybody can use it."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bigrec.recommender.bigrec import BIGRec
from bigrec.serving.api_keys import add_key
from bigrec.serving.app import create_app
from bigrec.serving.options import ServingOptions
from tests.conftest import needs, tiny_dataset, tiny_settings, wait_for
from tests.serving.conftest import Serve

pytestmark = pytest.mark.model

CHROMIUM = shutil.which("chromium")
HOSTILE = '<img src=x onerror="window.hacked=1"><b>\u202egnp.exe\u202c & "\x07'
in_browser = [
    needs("playwright"),
    needs("axe-playwright-python"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def test_the_page_allows_its_own_files_alone_and_holds_no_data(serve: Serve) -> None:
    client = serve()
    answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in answer.text.replace("openapi.json", "")
    assert "Toy Story" not in answer.text
    for name in ("page.js", "lists.js", "service.js", "style.css"):
        text = client.get(f"/page/{name}").text
        assert "://" not in text
        assert "innerHTML" not in text
        assert text.count("\n") <= 400
    assert client.get("/page/secret.js").status_code == 422


@contextmanager
def served(options: ServingOptions) -> Iterator[str]:
    """Address of a service in a thread."""
    app = create_app(options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: app.state.bigrec.service.is_loaded)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    flags = ["--headless", "--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab, in which nothing may fail and no other host may be asked."""
    tab = browser.new_page()
    tab.set_default_timeout(10_000)
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    yield tab
    tab.close()
    assert problems == []
    assert all(url.startswith(("http://127.0.0.1:", "data:")) for url in asked), asked


def violations(page: Any) -> list[str]:
    """What hinders people who use a keyboard or a screen reader, as axe finds it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@pytest.mark.usefixtures("page")
class TestInABrowser:
    """Skipped, visibly, where there is no browser."""

    pytestmark = in_browser

    def test_a_history_is_picked_lists_follow_and_say_why(
        self, bundle: Path, tiny_model: Path, page: Any
    ) -> None:
        other = bundle.with_name("other")
        settings = tiny_settings(tiny_model, "baselines.tune=none", mode="text", signals="[EASE]")
        BIGRec(settings).fit(tiny_dataset()).save(other)
        with served(ServingOptions(bundles=(bundle, other), device="cpu")) as address:
            page.goto(address)
            lists = page.locator("article")
            assert lists.count() == 2 or lists.nth(1).wait_for() is None
            page.get_by_text("By popularity").first.wait_for()
            # By keyboard alone.
            page.locator("#search").focus()
            page.keyboard.type("babe")
            page.get_by_role("button", name="Add: Babe (1995)").wait_for()
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            page.get_by_text("with its signals").first.wait_for()
            assert page.locator("#taken li").count() == 1
            assert "rank" in lists.nth(0).locator(".facts").nth(1).inner_text()
            first = lists.nth(0).locator(".card").first
            assert violations(page) == []
            first.locator("summary").click()
            first.get_by_text("Nearest of the history").wait_for()
            assert first.locator("meter").count() == 3
            scores = lists.nth(0).locator("ol").inner_text()
            slider = page.get_by_role("slider", name="co-occurrence")
            slider.focus()
            page.keyboard.press("End")
            page.wait_for_function(
                "old => document.querySelector('article ol').innerText !== old",
                arg=scores,
            )
            assert violations(page) == []

    def test_titles_are_text_wherever_they_stand(
        self, bundle: Path, page: Any, serve: Serve
    ) -> None:
        client = serve()
        rows = [{"item_id": "<b>", "title": f"4 < 5 {HOSTILE[29:]}"}]
        assert client.post("/v1/items", json=rows[0]).status_code == 201
        with served(ServingOptions(bundles=(bundle,), device="cpu")) as address:
            page.goto(address)
            page.locator("#catalog-search").fill("4 < 5")
            page.get_by_text("Items 1 to 1 of 1").wait_for()
            text = page.locator("#catalog").inner_text()
            assert "\\u202e" in text
            assert "\\x07" in text
            page.get_by_role("button", name="Hide: 4 < 5").click()
            page.get_by_role("button", name="Show: 4 < 5").wait_for()
            page.locator("#new-id").fill("<i>x</i>")
            page.locator("#new-title").fill('Tom "><script>window.hacked=1</script> & Co')
            page.get_by_role("button", name="Add the item").click()
            page.get_by_text("is in the catalog").wait_for()
            assert page.evaluate("window.hacked") is None
            assert page.locator("#catalog b, #catalog i, main img").count() == 0

    def test_a_key_is_asked_where_the_service_has_keys(
        self, bundle: Path, page: Any, tmp_path: Path
    ) -> None:
        key = add_key(tmp_path / "keys.json", "anna", "read")
        options = ServingOptions(bundles=(bundle,), device="cpu", keys=tmp_path / "keys.json")
        with served(options) as address:
            page.goto(address)
            assert page.locator("article").count() == 0
            page.get_by_label("API key").fill("bigrec_wrong")
            page.keyboard.press("Enter")
            page.get_by_text("holds no key of this service").wait_for()
            page.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            page.locator(".card").first.wait_for()
            page.get_by_role("button", name="Hide: ").first.click()
            page.get_by_text("may read only").wait_for()
            assert violations(page) == []
