"""The copy of a bundle's files, with one limit for all of them.

`python -m service.models.fetch.files URI FOLDER SECONDS` does so from a URI, in a process that may be killed.
"""

import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from sentiment.bundle.bundle import BUNDLE_FILES, CARD_FILE, MAX_CARD_BYTES, SIGNATURE_FILE, Card, read_card
from sentiment.errors import BundleError
from service.models.fetch.sources import Location, parse_location

MAX_BUNDLE_BYTES = 2_000_000_000
FREE_BYTES = 500_000_000
"""Bytes of the disk that a bundle must leave free."""
CHUNK_BYTES = 1_000_000
WEB_SECONDS = 10.0

Read = Callable[[str], AbstractContextManager[Iterable[bytes]]]
"""Opens a file of a bundle by its name."""


def fetch_files(
    read: Read,
    folder: Path,
    check: Callable[[Card], object] = lambda _: None,
    *,
    max_bytes: int = MAX_BUNDLE_BYTES,
    free_bytes: int = FREE_BYTES,
) -> None:
    """Write the files of a bundle into a folder; `check` sees the card before the rest comes, and the signature.

    Raises BundleError for what cannot be read or is too much.
    """
    left = max_bytes

    def fetch(name: str, limit: int) -> int:
        with read(name) as chunks:
            return _write_bounded(chunks, name, folder / name, limit, free_bytes)

    left -= fetch(CARD_FILE, MAX_CARD_BYTES)
    with suppress(BundleError):  # where one is wanted, one that cannot be read is none
        left -= fetch(SIGNATURE_FILE, MAX_CARD_BYTES)
    card = read_card(folder)
    check(card)
    for name in card.digests:
        left -= fetch(name, left)


def read_local(origin: Path, root: Path, keeps_on: Callable[[], bool]) -> Read:
    """Return a reader of the files of a folder, none of which may lie outside `root`."""

    @contextmanager
    def read(name: str) -> Iterator[Iterable[bytes]]:
        try:
            path = (origin / name).resolve(strict=True)
            if not path.is_relative_to(root):
                raise BundleError(
                    f"{name} in {str(origin)!r} is a link that leads out of {str(root)!r}; put the file there."
                )
            # A link that was put there since is not followed, and a pipe does not block.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise BundleError(f"{name} in {str(origin)!r} is not a file; name another folder.")
                if os.fstat(descriptor).st_size > MAX_BUNDLE_BYTES:
                    raise BundleError(f"{name} has over {MAX_BUNDLE_BYTES:,} bytes, the limit; name another bundle.")
                yield _read_chunks(lambda: file.read(CHUNK_BYTES) if keeps_on() else _raise_late(name))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BundleError(
                f"{str(origin)!r:.200} is not a model bundle that can be read: {name}: {reason};"
                f" wanted {', '.join(BUNDLE_FILES)}."
            ) from error

    return read


def read_remote(location: Location) -> Read:
    """Return a reader of the files behind a URI."""
    open_file = _open_web if location.scheme in {"https", "http"} else _open_remote

    @contextmanager
    def read(name: str) -> Iterator[Iterable[bytes]]:
        try:
            with open_file(f"{location.uri}/{name}") as chunks:
                yield chunks
        except BundleError:
            raise
        except Exception as error:  # each kind of filesystem has errors of its own, of which many are no OSError
            raise BundleError(
                f"{name} cannot be fetched from the URI ({type(error).__name__}); wanted a folder that this service"
                f" reaches with {', '.join(BUNDLE_FILES)} in it."
            ) from error

    return read


@contextmanager
def _open_web(address: str) -> Iterator[Iterable[bytes]]:
    """Yield the bytes of a web server; a redirect is not followed, since it may lead out of the sources."""
    import httpx

    headers = {"accept-encoding": "identity"}
    with httpx.stream("GET", address, timeout=WEB_SECONDS, trust_env=False, headers=headers) as answer:
        if answer.has_redirect_location:
            raise BundleError("the server behind the URI redirects; name the address that it leads to.")
        answer.raise_for_status()
        yield answer.iter_bytes(CHUNK_BYTES)


@contextmanager
def _open_remote(address: str) -> Iterator[Iterable[bytes]]:
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(address)
    with filesystem.open(path, "rb", block_size=0) as file:
        yield _read_chunks(lambda: file.read(CHUNK_BYTES))


def _read_chunks(read: Callable[[], bytes]) -> Iterator[bytes]:
    while chunk := read():
        yield chunk


def _write_bounded(chunks: Iterable[bytes], name: str, destination: Path, limit: int, free_bytes: int) -> int:
    """Write a file of unknown size and return its size. Raises BundleError over the limit, or if the disk is full."""
    written = 0
    with destination.open("wb") as target:
        for chunk in chunks:
            written += len(chunk)
            if written > limit:
                raise BundleError(f"{name} has over {limit:,} bytes, the limit; name another bundle.")
            if shutil.disk_usage(destination.parent).free < free_bytes + len(chunk):
                raise BundleError(
                    f"the disk has less than {free_bytes:,} bytes left, which are for others; make room for {name}."
                )
            target.write(chunk)
    return written


def _raise_late(name: str) -> bytes:
    raise BundleError(f"{name} was not read in time; name a smaller or nearer bundle.")


def main(uri: str, folder: str, seconds: str) -> None:
    """Fetch a bundle, or write one sentence and exit with 1."""
    signal.alarm(int(seconds))
    try:
        fetch_files(read_remote(parse_location(uri)), Path(folder))
    except BundleError as error:
        sys.stdout.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
