"""Files that are written whole: a reader finds the old content or the new, never a part."""

import os
import secrets
from pathlib import Path

from filelock import FileLock

from sentiment.paths import make_private_folder


def write_atomically(path: Path, content: bytes | str, mode: int | None = None) -> None:
    """Replace the content of a file; it is on the disk when this returns.

    The folder must exist. `mode` is the file's permissions; without it the umask decides, as for any new file.
    """
    # A name of its own for each call: threads and processes may write the same file at once.
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def make_secret_file(path: Path, content: str) -> None:
    """Write a secret for its owner alone, unless the file is there; of several processes at once, one writes.

    The folder is made, too.
    """
    make_private_folder(path.parent)
    # A lock and not a link: some network file systems know no hard links.
    with FileLock(f"{path}.lock", mode=0o600):
        if not path.exists():
            write_atomically(path, content, mode=0o600)
