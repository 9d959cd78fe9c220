"""The files of the pages: whole, and with nothing from elsewhere."""

import gzip
import re

import pytest
from starlette.testclient import TestClient

from service.pages.files import CHARTS, STATIC, Files, list_names

OWN = sorted(list_names() - {CHARTS})
REFERENCE = re.compile(r"""(?:src|href)="static/([^"]+)"|from "(\.[^"]+)"|import "(\.[^"]+)\"""")


@pytest.mark.parametrize("name", OWN)
def test_a_file_names_no_other_host(name):
    """Nothing that a browser gets makes it ask anybody else."""
    found = re.findall(r"https?://[^\s\"')]+|[\"'(]//", (STATIC / name).read_text())

    assert [address for address in found if address != "http://www.w3.org/2000/svg"] == []


@pytest.mark.parametrize("name", OWN)
def test_what_a_file_asks_for_is_there(name):
    """Every script, style and picture that a page or a script names is one that is served."""
    content = (STATIC / name).read_text()

    for page, *modules in REFERENCE.findall(content):
        module = next(filter(None, modules), "")
        wanted = page or (STATIC / name).parent.joinpath(module).resolve().relative_to(STATIC).as_posix()
        assert wanted in list_names()


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".html")])
def test_a_page_has_no_script_or_style_of_its_own(name):
    """The policy of the pages forbids what stands in them, so that a text can never become a script."""
    page = (STATIC / name).read_text()

    assert re.findall(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", page) == []


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".js")])
def test_a_script_puts_texts_in_as_text(name):
    """No script has a way to put markup into a page."""
    script = (STATIC / name).read_text()

    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script) == []


def test_the_charts_come_from_an_installed_package():
    """The charting library is read where it was installed, with its licence in it, and sent in a fifth of its size."""
    client = TestClient(Files())
    with client.stream("GET", "/static/chart.js", headers={"accept-encoding": "gzip"}) as response:
        packed = b"".join(response.iter_raw())
    content = gzip.decompress(packed)

    assert b"MIT License" in content[:500]
    assert len(packed) < len(content) / 4.5
