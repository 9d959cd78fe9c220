"""The validation page: safe to open, whatever the data holds, and whole without a network."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from sentiment.data.validation import LENGTH_BINS, DroppedRows, ValidationReport
from sentiment.reports.html import render_validation

HOSTILE = "positive: <script>alert('x')</script><img src=//evil.example/p.png onerror=\"run()\">"
REPORT = ValidationReport(
    dataset="made",
    digest="0123456789abcdef" * 4,
    rows_read=12345,
    rows_kept=12000,
    dropped=(DroppedRows("duplicate text", 345, (HOSTILE, "negative: meh & so on")),),
    class_counts={"negative": 4000, "positive": 8000},
    length_counts=dict.fromkeys(LENGTH_BINS, 1),
)


class PageReader(HTMLParser):
    """Collects the tags, the addresses and the words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action"}]

    def handle_data(self, data: str) -> None:
        self.words += data.split()


@pytest.fixture(scope="module")
def page() -> str:
    return render_validation(REPORT)


def test_markup_in_a_text_is_shown_and_not_run(page: str):
    """A script in the data is words on the page."""
    reader = PageReader(page)
    assert "script" not in reader.tags
    assert reader.tags.count("img") == 1
    assert " ".join(HOSTILE.split()) in " ".join(reader.words)


def test_markup_in_a_name_is_shown_and_not_run():
    """Dataset names and reasons are escaped as well, in the title too."""
    odd = replace(REPORT, dataset="</title><b>bold</b>", dropped=(DroppedRows("<i>why</i>", 1, ()),))
    page = render_validation(odd)
    assert not {"b", "i"} & set(PageReader(page).tags)
    assert page.count("&lt;/title&gt;&lt;b&gt;bold&lt;/b&gt;") == 2


def test_the_page_asks_nothing_of_the_network(page: str):
    """The one picture is inside the page; there is no script, no style sheet and no font from elsewhere."""
    reader = PageReader(page)
    assert len(reader.addresses) == 1
    assert reader.addresses[0].startswith("data:image/png;base64,")
    assert not {"link", "script", "iframe", "object", "base"} & set(reader.tags)
    assert "url(" not in page
    assert "@import" not in page


def test_the_picture_is_a_png(page: str):
    """What the page carries is an image that a browser draws."""
    encoded = re.search(r"base64,([^\"]+)", page)
    assert base64.b64decode(encoded[1], validate=True).startswith(b"\x89PNG\r\n\x1a\n")


def test_the_page_counts_what_was_read_kept_and_dropped(page: str):
    """The numbers stand in one sentence with the start of the digest."""
    words = " ".join(PageReader(page).words)
    assert "12,345 rows read, 12,000 kept , 345 dropped. Digest 0123456789abcdef ." in words


def test_each_reason_has_its_rows_and_examples(page: str):
    """A reason is followed by its number of rows and its examples."""
    words = " ".join(PageReader(page).words)
    assert "duplicate text 345 positive: <script>" in words
    assert "negative: meh & so on" in words


def test_a_clean_dataset_says_that_nothing_was_dropped():
    """No empty table where there is nothing to list."""
    reader = PageReader(render_validation(replace(REPORT, dropped=(), rows_kept=12345)))
    assert "table" not in reader.tags
    assert reader.words[-1] == "None."


def test_one_class_with_every_row_is_drawn():
    """The picture needs no second class."""
    assert "data:image/png" in render_validation(replace(REPORT, class_counts={"positive": 12000}))
