"""Which places a model may come from, and that no way of writing an address leads elsewhere."""

import itertools
from pathlib import Path

import pytest

from sentiment.errors import BundleError
from service.api.schemas import ReloadRequest
from service.models.fetch.sources import Sources, parse_location, read_sources

ADMITTED = {
    "/models": [
        "/models",
        "/models/",
        "/models/a",
        "/models/a/../b",
        "/models//a",
        "file:///models/a",
        "file://localhost/models",
    ],
    "file:///models/": ["/models/a"],
    "https://host/models": ["https://host/models", "https://HOST:443/models/a", "https://host/models/"],
    "https://host": ["https://host/models", "https://host"],
    "https://host:8443/models": ["https://host:8443/models/a"],
    "http://127.0.0.1:3001/a": ["http://127.0.0.1:3001/a/b"],
    "http://localhost/a": ["http://localhost:80/a"],
    "s3://bucket/models": ["s3://bucket/models/1", "S3://bucket/models"],
    "hf://ada/sentiment": ["hf://ada/sentiment", "hf://ada/sentiment/deeper"],
    "hf://ada/sentiment@1": ["hf://ada/sentiment@1", "hf://ada/sentiment@1/deeper"],
}
REFUSED = {
    "/models": ["/models-evil", "/model", "/", "/models/../etc", "/MODELS", "file:///models/../etc", "file:///etc"],
    "https://host/models": [
        "https://host/models-evil", "https://host/model", "https://host", "https://host/MODELS", "https://host.evil/models",
        "https://evil.host/models", "https://host:444/models", "http://localhost/models", "s3://host/models",
        "https://host./models", "https://host:0443/models", "https://host/x/models",
    ],
    "https://host": ["https://host.evil", "https://hostevil/", "https://host:80/"],
    "s3://bucket/models": ["s3://bucket/models2", "s3://Bucket/models", "s3://bucket"],
    "s3://bucket": ["s3://bucket2/a", "s3://bucket.evil"],
    "hf://ada/sentiment": ["hf://ada/sentiment@refs/pr/1", "hf://ada/sentiment@0f3", "hf://Ada/sentiment", "hf://ada/sentiment2"],
    "hf://ada": ["hf://ada/sentiment@1", "hf://ada@1/sentiment", "hf://ada/a/b@refs/pr/1"],
    "hf://ada/sentiment@1": ["hf://ada/sentiment", "hf://ada/sentiment@2", "hf://ada/sentiment@11"],
}  # fmt: skip
NO_LOCATIONS = {
    "": "it has a character that is not plain, such as %, ? or a space",
    "models": "its protocol is none of file, https, http, s3, hf",
    "./models": "its protocol is none of file, https, http, s3, hf",
    "//host/models": None,  # a folder of this machine
    "ftp://host/a": "its protocol is none of file, https, http, s3, hf",
    "gs://bucket/a": "its protocol is none of file, https, http, s3, hf",
    "zip://a.zip::https://host/a": "it is a chain of file systems",
    "simplecache::https://host/a": "it is a chain of file systems",
    "https://host/a::b": "it is a chain of file systems",
    "https://host/models/../a": "a part of its path is empty, . or ..",
    "https://host/models/./a": "a part of its path is empty, . or ..",
    "https://host//models": "a part of its path is empty, . or ..",
    "file://host/models": "its folder is on another machine",
    "http://host/models": "it goes to another machine without encryption",
    "http://127.0.0.1.evil/models": "it goes to another machine without encryption",
    "http://2130706433/models": "it goes to another machine without encryption",
    "https://ann@host/models": "its host is not a plain name, with a port perhaps",
    "https://ann:word@host/models": "its host is not a plain name, with a port perhaps",
    "https://host:/a:b@evil/models": "it has an @",
    "https://host:99999999/models": "its host is not a plain name, with a port perhaps",
    "https://host:+443/models": "its host is not a plain name, with a port perhaps",
    "https://[2001:db8::1]/models": "it has a character that is not plain, such as %, ? or a space",
    "https:///models": "its host is not a plain name, with a port perhaps",
    "https://-host/models": "its host is not a plain name, with a port perhaps",
    "s3://key:secret@bucket/a": "its bucket or owner is not a plain name",
    "s3:///a": "its bucket or owner is not a plain name",
    "s3://bucket/a@b": "it has an @",
    "/nul\0": "it has a NUL in it",
}
PROBES = [chr(code) for code in range(256)] + [
    "..",
    "%2e",
    "%2f",
    "%00",
    "::",
    "\uff0f",
    "\u2025",
    "\ud800",
    "/..",
    "/.",
]


@pytest.mark.parametrize(("source", "text"), [(source, text) for source, texts in ADMITTED.items() for text in texts])
def test_what_lies_within_a_source_is_admitted(source, text):
    """The place itself and all below it, however its host is written."""
    assert read_sources(source).find_place(parse_location(text))


@pytest.mark.parametrize(("source", "text"), [(source, text) for source, texts in REFUSED.items() for text in texts])
def test_what_lies_beside_a_source_is_not_admitted(source, text):
    """A name that begins alike is another name, and a revision that was not named is anybody's."""
    sources = read_sources(source)
    try:
        location = parse_location(text)
    except ValueError:
        return
    assert sources.find_place(location) is None


@pytest.mark.parametrize(("text", "said"), NO_LOCATIONS.items())
def test_what_could_mean_something_else_is_no_location(text, said):
    """An address has one way to be written; all others are refused with a clause."""
    if said is None:
        assert parse_location(text).scheme == "file"
        return
    with pytest.raises(ValueError) as refused:
        parse_location(text)
    assert str(refused.value) == said


def test_no_byte_leads_out_of_a_source():
    """Whatever is put wherever into an address within a source, it stays in it, or is not admitted."""
    base = "https://host/models/a"
    sources = read_sources("https://host/models")
    admitted = 0
    for place, probe in itertools.product(range(len(base) + 1), PROBES):
        for text in (base[:place] + probe + base[place:], base[:place] + probe):
            try:
                location = parse_location(text)
            except ValueError:
                continue
            if sources.find_place(location):
                admitted += 1
                assert f"{location.uri}/".startswith("https://host:443/models/")
                assert location.uri.isascii()
                assert not {"", ".", ".."} & set(location.parts)
    assert admitted > 100


def test_a_link_leads_out_of_a_folder(tmp_path):
    """Folders are compared after all links were resolved, those of the source as well."""
    (tmp_path / "models" / "a").mkdir(parents=True)
    (tmp_path / "models" / "out").symlink_to("/etc")
    (tmp_path / "alias").symlink_to(tmp_path / "models")
    for source in ("models", "alias"):
        sources = read_sources(str(tmp_path / source))
        found = [
            bool(sources.find_place(parse_location(str(tmp_path / path))))
            for path in ("models/a", "alias/a", "models/out", "alias/out", "alias/../models", "models/a/../../b")
        ]
        assert found == [True, True, False, False, True, False]


def test_nothing_is_named_by_default():
    """An empty setting, or one of commas, admits nothing but what is looked at elsewhere."""
    assert [read_sources(setting) for setting in ("", " ", ",", " , ")] == [Sources()] * 4


def test_several_places_may_be_named():
    """Each counts, with spaces around the commas; ~ is the home of who runs the service."""
    sources = read_sources("~/models , s3://bucket/a,, https://host")

    assert [place.scheme for place in sources.places] == ["file", "s3", "https"]
    assert sources.places[0].folder == (Path.home() / "models").resolve()


@pytest.mark.parametrize(
    "setting", ["models", "/a,ftp://host", "https://ann:marmalade@host/", "http://host/", "~nobody0/a"]
)
def test_a_setting_that_names_no_place_is_refused(setting):
    """The number of the source is said, not its text, which may hold a password."""
    with pytest.raises(ValueError, match=r"^source [12] cannot be used: .*; wanted an absolute folder, or ") as refused:
        read_sources(setting)
    assert "marmalade" not in str(refused.value)


@pytest.mark.parametrize("uri", ["https://host/a", "s3://bucket/a", "hf://ada/sentiment"])
def test_a_uri_that_no_source_has_is_refused(uri, refuses):
    """Without a source that names it an address is not even looked up."""
    with refuses(BundleError):
        Sources().locate(ReloadRequest(uri=uri))
