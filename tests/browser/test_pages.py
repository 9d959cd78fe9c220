"""The pages in a real browser, as somebody with a keyboard, a screen or a screen reader meets them."""

import csv
import io
import re
import subprocess
import sys

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from sentiment.paths import CHECKOUT
from tests.browser.conftest import NARROW, WIDE, visit
from tests.support.serving import run_service, wait_until

STRANGE = [
    "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "'; drop table predictions; --",
    "هذا رائع جدا 🎉 \u202etxt",
    "=1+1",
]


def ask(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.keyboard.press("Control+Enter")


def find_violations(page: Page) -> list[str]:
    """Return what axe finds, each with the element that it is about."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


def read_log(service) -> list[dict]:
    return service.get("/dashboard/predictions").raise_for_status().json()["rows"]


@pytest.fixture(scope="module")
def strange(service) -> list[str]:
    """Texts that try to be more than text, in the log of the service with some feedback."""
    for text in STRANGE:
        prediction = service.predict(text)
        service.post("/feedback", {"prediction_id": prediction, "label": "negative"}).raise_for_status()
    wait_until(lambda: {row["text"] for row in read_log(service)} >= set(STRANGE))
    return STRANGE


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_page_to_try_it_is_for_everybody(browser, service, size, scheme):
    """With an answer on it the page has nothing that axe objects to, and fits the screen."""
    with visit(browser, service, size=size, scheme=scheme) as visitor:
        page = visitor.open("/")
        empty = find_violations(page)
        ask(page, "what a good day\n" * 8)
        expect(page.locator(".words")).to_be_visible()

        assert (empty, find_violations(page), visitor.complaints) == ([], [], [])
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.usefixtures("strange")
def test_the_dashboard_is_for_everybody(browser, service, size, scheme):
    """With everything on it that there is, the dashboard has nothing that axe objects to, and fits the screen."""
    with visit(browser, service, size=size, scheme=scheme) as visitor:
        page = visitor.open("/dashboard")
        expect(page.locator("#updated")).to_contain_text("As of")
        for summary in page.locator("summary").all():
            summary.click()

        assert (find_violations(page), visitor.complaints) == ([], [])
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_a_text_is_asked_about_by_keyboard_alone(visitor):
    """Type, ask, look at a word and say that the answer is right, without a mouse."""
    page = visitor.open("/")
    page.keyboard.type("what a good day")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text("sure")
    words = page.locator(".words button")
    words.first.focus()
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_be_focused()
    page.get_by_role("button", name="Yes").focus()
    page.keyboard.press("Enter")

    expect(page.locator(".done")).to_contain_text("Thank you")


def test_an_answer_is_what_the_service_says(visitor):
    """Label, share per label, model and ids of the answer stand on the page."""
    page = visitor.open("/")
    with page.expect_response("**/explain") as answered:
        ask(page, "one two three")
    answer = answered.value.json()

    said = page.locator(".answer")
    expect(said.locator(".verdict")).to_contain_text(answer["label"])
    expect(said.locator(".shares li")).to_have_count(3)
    for fact in (answer["model_version"], answer["request_id"], answer["prediction_id"]):
        expect(said).to_contain_text(fact)


def test_what_is_wrong_with_a_text_is_said_in_a_sentence(visitor):
    """An error of the service stands on the page as its sentence."""
    page = visitor.open("/")
    ask(page, "   ")

    expect(page.get_by_role("alert")).to_have_text("The text is empty or only spaces; send at least one word.")
    visitor.complaints.clear()  # Chromium itself notes each answer of 4xx


def test_a_long_text_says_what_was_not_read(visitor):
    """A text beyond what the model reads says so, and shows what did not count."""
    page = visitor.open("/")
    ask(page, "word " * 40 + "end")

    expect(page.locator(".note")).to_contain_text("too long for the model")
    expect(page.locator(".unread")).to_contain_text("end")


def test_many_texts_are_answered_in_several_requests(visitor):
    """Hundreds of lines are asked about in turns, counted, and can be taken away as a file that is safe to open."""
    page = visitor.open("/")
    page.get_by_label("Many texts").check()
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "batch_predict" in request.url else None)
    ask(page, "\n".join([f"good {number}" for number in range(145)] + STRANGE))
    expect(page.get_by_role("heading", name="150 texts")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download as CSV").click()

    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text("utf-8-sig"))))
    assert len(asked) == 3
    assert [row["text"] for row in rows[-5:]] == [*STRANGE[:4], "'=1+1"]
    assert {row["label"] for row in rows} <= {"negative", "neutral", "positive"}


def test_a_table_file_is_opened_by_its_column_of_texts(visitor, tmp_path):
    """Of a CSV file the column with the texts is asked about, line breaks and quotes in it kept."""
    table = tmp_path / "reviews.csv"
    table.write_text('id,comment,stars\n1,"so ""good"",\nreally",5\n2,bad,1\n3,,3\n', encoding="utf-8")
    page = visitor.open("/")
    page.get_by_label("Many texts").check()
    page.set_input_files("#file", table)
    expect(page.locator("#source")).to_contain_text("3 texts")
    page.keyboard.press("Control+Enter")

    rows = page.locator(".texts tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text('so "good",\nreally')
    expect(rows.nth(2)).to_contain_text("The text is empty")


def test_the_table_is_sorted_by_its_heads(visitor):
    """The answers are put in order by a column, and the head says which and how."""
    page = visitor.open("/")
    page.get_by_label("Many texts").check()
    ask(page, "b\nc\na")
    head = page.get_by_role("columnheader", name="Text")
    head.get_by_role("button").click()

    expect(head).to_have_attribute("aria-sort", "ascending")
    assert [cell.strip() for cell in page.locator(".texts td.text").all_text_contents()] == ["a", "b", "c"]


def test_strange_texts_stand_in_the_history_as_they_are(visitor, strange):
    """Whatever a caller wrote is shown as text: nothing of it runs, and nothing is lost."""
    page = visitor.open("/dashboard")

    for text in strange:
        page.get_by_label("Part of the text").fill(text)
        page.keyboard.press("Enter")
        expect(page.locator(".rows .start").get_by_text(text, exact=True).first).to_be_visible()
    assert page.locator(".rows img, .rows script").count() == 0


@pytest.mark.usefixtures("strange")
def test_the_history_is_searched(visitor):
    """A part of a text, in any case, finds its prediction, with what callers said of it."""
    page = visitor.open("/dashboard")
    page.get_by_label("Part of the text").fill("DROP table")
    page.keyboard.press("Enter")

    rows = page.locator(".rows tbody tr")
    expect(rows.last).to_contain_text(STRANGE[2])
    expect(rows.last).to_contain_text("should be negative")
    page.get_by_label("Part of the text").fill("100% of nothing")
    page.keyboard.press("Enter")
    expect(page.locator("#history .nothing")).to_contain_text("No prediction fits")


def test_a_model_without_scores_is_shown_without_gaps(visitor):
    """What its card does not have is left out, or said to be missing."""
    page = visitor.open("/dashboard")
    card = page.locator("#model .content")
    expect(card).to_contain_text("The card of this model has no scores.")
    expect(card).not_to_contain_text(re.compile("null|undefined|NaN"))


@pytest.mark.usefixtures("strange")
def test_a_chart_is_also_a_table(visitor):
    """Who cannot see a chart reads its sentence and its numbers."""
    page = visitor.open("/dashboard")
    chart = page.locator("#predictions")

    expect(chart.get_by_role("img", name="answered in the last 24 hours")).to_be_visible()
    expect(chart.locator("figcaption")).to_contain_text("answered in the last 24 hours")
    chart.get_by_text("Show as a table").click()
    expect(chart.locator("tbody tr").first).to_be_visible()


def test_a_service_with_keys_asks_for_one(browser, store, tmp_path):
    """The page asks for a key where the service wants one, keeps it in its tab, and goes on with the question."""
    keys = tmp_path / "keys.txt"
    command = [sys.executable, "-m", "sentigate", "keys", "add", "me", "--file", str(keys)]
    key = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()
    with (
        run_service(store, tmp_path, SENTIMENT_API_KEY_FILE=str(keys), SENTIMENT_LOG_PREDICTIONS="false") as service,
        visit(browser, service) as visitor,
    ):
        page = visitor.open("/")
        ask(page, "what a good day")
        page.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator(".key")).to_contain_text("not known")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator(".verdict")).to_be_visible()
        page.get_by_role("button", name="Yes").click()
        expect(page.locator(".choices")).to_contain_text("no prediction log")
        kept = page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]")
        assert kept == [1, 0, ""]
        page = visitor.open("/dashboard")
        expect(page.locator(".key")).to_contain_text("wants the scope read")


def test_a_dashboard_without_a_log_says_so(browser, store, tmp_path):
    """Where nothing is kept, the sections say that, and the model and its health are shown all the same."""
    with (
        run_service(store, tmp_path, SENTIMENT_LOG_PREDICTIONS="false") as service,
        visit(browser, service) as visitor,
    ):
        page = visitor.open("/dashboard")
        for section in ("predictions", "latencies", "feedback", "history"):
            expect(page.locator(f"#{section} .problem")).to_contain_text("There is no prediction log to show")
        expect(page.locator("#model")).to_contain_text("svm")
        expect(page.locator("#health")).to_contain_text("Answers are not kept")


def test_a_database_that_is_away_spoils_neither_page_nor_predictions(browser, store, tmp_path):
    """The dashboard says that the database is away, and the service answers as before."""
    away = "postgresql://nobody:x@127.0.0.1:9/none"
    with run_service(store, tmp_path, DATABASE_URL=away) as service, visit(browser, service) as visitor:
        page = visitor.open("/dashboard")
        expect(page.locator("#predictions .problem")).to_contain_text("The database does not answer in time")
        expect(page.locator("#model")).to_contain_text("svm")
        assert service.post("/predict", {"text": "good"}).status_code == 200
