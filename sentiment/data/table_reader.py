"""Tables of text from CSV, TSV, JSONL and Parquet files, and a sentence for each way they go wrong."""

import codecs
import csv
import io
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from sentiment.errors import DatasetError, describe_unknown

PARQUET_MAGIC = b"PAR1"
ZIP_MAGIC = b"PK\x03\x04"


def read_table(path: Path, text_column: str, label_column: str, *, encoding: str = "utf-8") -> pd.DataFrame:
    """Return the columns `text` and `label` as strings, every row as found, empty cells as "".

    Raises DatasetError when the file is not what its ending says or has no such columns.
    """
    if text_column == label_column:
        raise DatasetError(
            f"the column {text_column!r} cannot be both the text and the label; name another in dataset.label_column."
        )
    content = path.read_bytes()
    table = FORMATS[path.suffix.lower()](path, content, encoding)
    for column, key in ((text_column, "dataset.text_column"), (label_column, "dataset.label_column")):
        if column not in table.columns:
            raise DatasetError(
                f"{path.name!r} has no column {column!r}: "
                + describe_unknown("column", column, map(str, table.columns))
                + f" Name the right one in {key}."
            )
    found = table[[text_column, label_column]].astype(object)
    return pd.DataFrame(
        {"text": found[text_column].map(_to_text), "label": found[label_column].map(_to_text).str.strip()}
    )


def _to_text(cell: object) -> str:
    if cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return str(cell).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decode(path: Path, content: bytes, encoding: str) -> str:
    if content.startswith((PARQUET_MAGIC, ZIP_MAGIC)):
        kind = "a Parquet file" if content.startswith(PARQUET_MAGIC) else "a zip archive or spreadsheet"
        raise DatasetError(f"{path.name!r} is {kind}, not text as {path.suffix!r} says; rename it or export it as CSV.")
    try:
        codec = codecs.lookup(encoding).name
        text = content.decode("utf-8-sig" if codec == "utf-8" else codec)
    except LookupError as error:
        raise DatasetError(
            f"dataset.encoding {encoding!r} is not a known encoding; try 'utf-8' or 'latin-1'."
        ) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{path.name!r} is not {encoding}: byte {content[error.start]:#04x} on line {line};"
            " save it as UTF-8, or set dataset.encoding (often 'latin-1')."
        ) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise DatasetError(
            f"{path.name!r} has a NUL character on line {line}, which text does not have;"
            " remove it, or set dataset.encoding to 'utf-16' if that is what the file is."
        )
    return text


def _read_separated(separator: str) -> Callable[[Path, bytes, str], pd.DataFrame]:
    def read(path: Path, content: bytes, encoding: str) -> pd.DataFrame:
        text = _decode(path, content, encoding)
        if not text.strip():
            raise DatasetError(f"{path.name!r} is empty; a dataset needs a header line and rows below it.")
        try:
            with warnings.catch_warnings():
                # With too many cells in the first row pandas would cut the row and only warn.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                return pd.read_csv(
                    io.StringIO(text), sep=separator, dtype=str, na_filter=False, keep_default_na=False, index_col=False
                )
        except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, csv.Error) as error:
            reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
            raise DatasetError(
                f"{path.name!r} is not a table separated by {separator!r}: {reason};"
                " quote cells that hold the separator, or use the ending that fits."
            ) from error

    return read


def _read_lines(path: Path, content: bytes, encoding: str) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(_decode(path, content, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise DatasetError(
                f"{path.name!r} line {number} is not JSON ({reason}); wanted one object a line."
            ) from error
        if not isinstance(row, dict):
            raise DatasetError(f"{path.name!r} line {number} holds a {type(row).__name__}; wanted one object a line.")
        rows.append(row)
    if not rows:
        raise DatasetError(f"{path.name!r} is empty; wanted one JSON object a line.")
    return pd.DataFrame(rows, dtype=object)


def _read_parquet(path: Path, content: bytes, _: str) -> pd.DataFrame:
    if not content.startswith(PARQUET_MAGIC):
        raise DatasetError(f"{path.name!r} is not a Parquet file, whatever its ending says; rename it to what it is.")
    try:
        return pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path.name!r} is a damaged Parquet file; write it again from where it came.") from error


FORMATS: dict[str, Callable[[Path, bytes, str], pd.DataFrame]] = {
    ".csv": _read_separated(","),
    ".tsv": _read_separated("\t"),
    ".jsonl": _read_lines,
    ".parquet": _read_parquet,
}
