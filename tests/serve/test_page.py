"""The page in Chromium: sending, streaming, stopping, editing, errors, reloading, hostile text.

BYTEMILL_SCREENSHOTS=DIR keeps pictures of it.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api")

from bytemill.serve.app import ServeSettings
from bytemill.serve.assistant import Assistant
from bytemill.serve.server import Server
from tests.support.scripted import Scripted
from tests.support.serving import PATIENT, RENDERER, TOKENIZER

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

S = RENDERER.special
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "</div><a href='javascript:alert(1)'>x</a>"
)
MIXED = "👍🏽 family 👨‍👩‍👧 שלום עולם and مرحبا 你好"


def ids(text):
    return TOKENIZER.encode_ordinary(text)


def single(text):
    return list(text.encode())  # ids 0 to 255 are the bytes


SCRIPTS = {
    "hostile": single(HOSTILE),
    "mixed": single(MIXED),
    "slow": [*ids("It begins"), None, *ids(" and ends.")],
    "sum": [
        S["<|python_start|>"], *ids("12*12"), S["<|python_end|>"],
        S["<|output_start|>"], *ids("144"), S["<|output_end|>"], *ids("It is 144."),
    ],
    "": ids("Hello there."),
}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        made = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=180_000)
        playwright.expect.set_options(timeout=180_000)
        yield made
        made.close()


@pytest.fixture
def pool():
    return Scripted(RENDERER, SCRIPTS)


@pytest.fixture
def url(pool):
    server = Server(Assistant("toy", pool, TOKENIZER), ServeSettings(PATIENT), port=0)
    with server.in_thread() as url:
        yield url


@pytest.fixture
def page(browser, url):
    context = browser.new_context(viewport={"width": 1000, "height": 700}, color_scheme="light")
    made = context.new_page()
    made.set_default_timeout(180_000)
    made.requested, made.faults = [], []
    made.on("request", lambda request: made.requested.append(request.url))
    made.on("pageerror", lambda error: made.faults.append(str(error)))
    made.on("dialog", lambda dialog: made.faults.append(dialog.message))
    made.goto(url)
    yield made
    assert made.faults == []
    # Nothing is fetched from anywhere else.
    assert all(one.startswith((url, "data:")) for one in made.requested)
    context.close()


def picture(page, name):
    if folder := os.environ.get("BYTEMILL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def ask(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def replies(page):
    return page.locator("article.assistant .text")


def see(page, n, text):
    """The n-th answer, whole."""
    playwright.expect(replies(page)).to_have_count(n)
    playwright.expect(replies(page).nth(n - 1)).to_have_text(text)
    playwright.expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def come(page, holds):
    """Waits until something holds, while the page goes on."""
    for _ in range(3600):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come to hold")


def test_a_conversation_is_kept_in_the_browser(page, pool):
    ask(page, "hi")
    see(page, 1, "Hello there.")
    ask(page, "what is the sum?")
    see(page, 2, re.compile("12\\*12.*144.*It is 144\\.", re.DOTALL))
    assert page.locator("[data-tool=python]").text_content() == "Calculator: 12*12"
    assert page.locator("[data-tool=python_output]").text_content() == "Result: = 144"
    about = page.locator("article.assistant .about").last.inner_text()
    assert re.search(r"\d+ tokens.*tokens/s.*seed \d+", about, re.DOTALL)
    picture(page, "page")
    page.reload()
    see(page, 2, re.compile("It is 144"))
    ask(page, "again")
    see(page, 3, "Hello there.")
    # The next turn shows the model the call that it made.
    assert "<|python_start|>12*12<|python_end|><|output_start|>144" in pool.prompts[-1]
    page.get_by_role("button", name="New conversation").click()
    playwright.expect(replies(page)).to_have_count(0)
    ask(page, "other")
    see(page, 1, "Hello there.")
    page.get_by_role("navigation").get_by_role("button", name="hi", exact=True).click()
    playwright.expect(replies(page)).to_have_count(3)
    page.get_by_role("button", name="Delete conversation hi").click()
    playwright.expect(replies(page)).to_have_count(0)
    page.reload()
    see(page, 1, "Hello there.")


def test_stopping(page, pool):
    ask(page, "slow")
    playwright.expect(replies(page)).to_have_text("It begins")  # while it is being written
    assert not pool.rows[0].is_cancelled
    page.get_by_role("button", name="Stop").click()
    see(page, 1, "It begins")
    playwright.expect(page.locator("article.assistant .about")).to_contain_text("stopped")
    come(page, lambda: pool.rows[0].is_cancelled)  # the server has seen that nobody listens
    ask(page, "hi")
    see(page, 2, "Hello there.")
    ask(page, "slow")
    playwright.expect(replies(page).nth(2)).to_have_text("It begins")
    page.keyboard.press("Escape")
    see(page, 3, "It begins")


def test_editing_and_regenerating(page, pool):
    ask(page, "mixed")
    see(page, 1, MIXED)
    ask(page, "hi")
    see(page, 2, "Hello there.")
    page.get_by_role("button", name="Regenerate").click()
    come(page, lambda: len(pool.rows) == 3)
    see(page, 2, "Hello there.")
    seeds = {row.chance._generators[0].initial_seed() for row in pool.rows[1:]}
    assert len(pool.rows) == 3 and len(seeds) == 2  # another one
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_label("Edit message").fill("the sum")
    page.keyboard.press("Enter")
    see(page, 1, re.compile("It is 144"))
    assert page.locator("article.user .text").all_text_contents() == ["the sum"]


def test_text_is_never_markup(page, pool):
    ask(page, f"hostile {HOSTILE}")
    see(page, 1, HOSTILE)
    page.reload()
    see(page, 1, HOSTILE)
    assert page.title() == "bytemill"
    for tag in ("script", "img", "a"):
        assert page.locator(f"#log {tag}").count() == 0 == page.locator(f"#list {tag}").count()
    # And if some were: the policy runs no script but the page's own.
    page.evaluate(
        "() => { const s = document.createElement('div'); document.body.append(s);"
        "try { s.innerHTML = '<img src=x onerror=\"document.title=1\">' } catch {} }"
    )
    page.wait_for_timeout(200)
    assert page.title() == "bytemill"


def test_all_scripts_and_directions(page):
    ask(page, f"mixed {MIXED}")
    see(page, 1, MIXED)
    assert page.locator("article.user .text").text_content() == f"mixed {MIXED}"
    ask(page, "שלום mixed")
    see(page, 2, MIXED)
    direction = "e => getComputedStyle(e).direction"
    assert page.locator("article.user .text").nth(1).evaluate(direction) == "rtl"
    assert page.locator("article.user .text").nth(0).evaluate(direction) == "ltr"


def test_errors_are_told_and_one_can_go_on(page, url):
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Temperature").fill("7")
    page.get_by_role("button", name="Save").click()
    ask(page, "hi")
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_contain_text("temperature: 7")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Temperature").fill("")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Settings").click()
    playwright.expect(page.get_by_label("Temperature")).to_have_value("7")
    page.get_by_label("Temperature").fill("")
    page.get_by_label("System message").fill("Be kind.")
    page.get_by_role("button", name="Save").click()
    ask(page, "hi")
    see(page, 1, "Hello there.")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page, "hi")
    playwright.expect(alert).to_contain_text("cannot be reached")
    page.unroute("**/v1/chat/completions")
    page.get_by_role("button", name="Regenerate").click()
    see(page, 2, "Hello there.")


def test_a_key(browser, pool):
    server = Server(Assistant("toy", pool, TOKENIZER), ServeSettings(PATIENT, key="abc"), port=0)
    with server.in_thread() as url:
        page = browser.new_page()
        page.set_default_timeout(180_000)
        page.goto(url)
        ask(page, "hi")
        playwright.expect(page.get_by_role("alert")).to_contain_text("a key is needed")
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Key").fill("abc")
        page.keyboard.press("Enter")
        ask(page, "hi")
        see(page, 1, "Hello there.")
        kept = page.evaluate("() => JSON.stringify(localStorage)")
        assert "abc" not in kept
        page.close()


def test_by_keyboard_on_a_phone_and_in_the_dark(page):
    box = page.get_by_label("Message", exact=True)
    playwright.expect(box).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    see(page, 1, "Hello there.")
    assert page.locator("article.user .text").inner_text() == "one\ntwo"
    ask(page, "the sum")
    see(page, 2, re.compile("It is 144"))
    page.set_viewport_size({"width": 360, "height": 640})
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 360
    playwright.expect(page.get_by_role("navigation")).to_be_hidden()
    page.get_by_role("button", name="Show conversations").click()
    playwright.expect(page.get_by_role("navigation")).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(page.get_by_role("navigation")).to_be_hidden()
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) != light
    picture(page, "page-phone")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Colours").select_option("light")
    page.get_by_role("button", name="Save").click()
    assert page.evaluate(background) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(page, scheme):
    """axe-core finds nothing that is wrong, contrast included."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    source = next(Path(axe.__file__).parent.glob("*.min.js")).read_text(encoding="utf-8")
    page.emulate_media(color_scheme=scheme)
    ask(page, "the sum")
    see(page, 1, re.compile("It is 144"))
    page.evaluate(source)
    for opens in (None, "Settings"):
        if opens:
            page.get_by_role("button", name=opens).click()
        found = page.evaluate("() => axe.run()")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
