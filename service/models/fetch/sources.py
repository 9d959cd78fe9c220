"""The places outside BentoML's store that models may come from: `SENTIMENT_RELOAD_SOURCES`."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sentiment.errors import BundleError
from service.api.schemas import ReloadRequest

SOURCES_VARIABLE = "SENTIMENT_RELOAD_SOURCES"
PORTS = {"https": 443, "http": 80}
SCHEMES = ("file", "https", "http", "s3", "hf")
LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}")
# No control characters or spaces, no query or fragment, nothing encoded: a part has one way to be written.
PLAIN = re.compile(r"[!-~]+")
FOREIGN = frozenset('%?#\\"<>[]^`{|}')
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
WANTED = "wanted an absolute folder, or file://, https://, s3:// or hf://, http:// on this machine alone"


@dataclass(frozen=True)
class Location:
    """A folder of this machine, with an empty host, or a folder behind a URI, in its normal form."""

    scheme: str
    host: str
    parts: tuple[str, ...]

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{'/'.join((self.host, *self.parts))}"

    @property
    def folder(self) -> Path:
        """The folder of this machine, with all links resolved."""
        return Path("/", *self.parts).resolve()

    def contains(self, other: "Location") -> bool:
        """Return whether another location is this one or within it."""
        if (self.scheme, self.host) != (other.scheme, other.host):
            return False
        if self.scheme == "file":
            return other.folder.is_relative_to(self.folder)
        own, rest = other.parts[: len(self.parts)], other.parts[len(self.parts) :]
        # A revision of the hub may be anybody's pull request, so that it is to be named in the source itself.
        return own == self.parts and not (self.scheme == "hf" and any("@" in part for part in rest))


def parse_location(text: str) -> Location:
    """Return the location of an absolute folder or a URI. Raises ValueError with a clause on what is wrong."""
    if text.startswith("/"):
        if "\0" in text:
            raise ValueError("it has a NUL in it")
        return Location("file", "", Path(text).parts[1:])
    if not PLAIN.fullmatch(text) or FOREIGN & set(text):
        raise ValueError("it has a character that is not plain, such as %, ? or a space")
    if "::" in text:
        raise ValueError("it is a chain of file systems")
    found = urlsplit(text.rstrip("/"))
    parts = tuple(found.path.split("/")[1:])
    if found.scheme not in SCHEMES:
        raise ValueError(f"its protocol is none of {', '.join(SCHEMES)}")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError("a part of its path is empty, . or ..")
    if found.scheme == "file":
        if found.netloc not in {"", "localhost"}:
            raise ValueError("its folder is on another machine")
        return Location("file", "", parts)
    if found.scheme in PORTS:
        host = _name_host(found.scheme, found.netloc.lower())
    else:
        host = found.netloc
        if not NAME.fullmatch(host.replace("@", "-") if found.scheme == "hf" else host):
            raise ValueError("its bucket or owner is not a plain name")
    if found.scheme != "hf" and "@" in found.path:
        raise ValueError("it has an @")
    return Location(found.scheme, host, parts)


def _parse_folder(text: str) -> Location:
    if not text.startswith("/"):
        raise ValueError("it is not absolute")
    return parse_location(text)


def _name_host(scheme: str, netloc: str) -> str:
    """Return host and port. Raises ValueError for anything else, and for http to another machine."""
    host, _, port = netloc.partition(":")
    if not NAME.fullmatch(host) or (port and not re.fullmatch(r"[1-9][0-9]{0,4}", port)):
        raise ValueError("its host is not a plain name, with a port perhaps")
    if scheme == "http" and not LOOPBACK.fullmatch(host):
        raise ValueError("it goes to another machine without encryption")
    return f"{host}:{port or PORTS[scheme]}"


@dataclass(frozen=True)
class Sources:
    """The places that an operator allows."""

    places: tuple[Location, ...] = ()

    def find_place(self, location: Location) -> Location | None:
        """Return the place that contains a location; None if there is none."""
        return next((place for place in self.places if place.contains(location)), None)

    def locate(self, wanted: ReloadRequest) -> Location:
        """Return the location that a request names: a folder, or a URI in one of the places.

        Raises BundleError for any other, without a word of the URI, which may hold a password.
        """
        try:
            location = _parse_folder(wanted.folder) if wanted.folder is not None else parse_location(str(wanted.uri))
        except ValueError as error:
            what = "the URI" if wanted.folder is None else f"the folder {wanted.folder!r:.200}"
            raise BundleError(f"{what} cannot be used: {error}; {WANTED}.") from error
        if location.scheme != "file" and self.find_place(location) is None:
            raise BundleError(
                f"the URI is in none of the places that {SOURCES_VARIABLE} names; name it there, or load a version of"
                " the store."
            )
        return location


def read_sources(setting: str) -> Sources:
    """Return the places of the setting, which are separated by commas. Raises ValueError for one that is none."""
    places = []
    for number, text in enumerate(filter(None, (part.strip() for part in setting.split(","))), 1):
        try:
            places.append(parse_location(str(Path(text).expanduser()) if text.startswith("~") else text))
        except (ValueError, RuntimeError) as error:  # not the text itself: it may hold a password
            raise ValueError(f"source {number} cannot be used: {error}; {WANTED}") from error
    return Sources(tuple(places))
