"""Tables from files as people have them, and the sentence for each file that is not one."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from sentiment.data.table_reader import read_table
from sentiment.errors import DatasetError

CSV = b"text,label\ngood,positive\nbad,negative\n"
ROWS = [("good", "positive"), ("bad", "negative")]


def read_rows(path: Path, content: bytes | None = None, text="text", label="label", encoding="utf-8"):
    if content is not None:
        path.write_bytes(content)
    table = read_table(path, text, label, encoding=encoding)
    assert list(table.columns) == ["text", "label"]
    return list(table.itertuples(index=False, name=None))


def say_mistake(path: Path, content: bytes, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        read_rows(path, content, **options)
    return str(caught.value)


def make_parquet(folder: Path, **columns) -> bytes:
    pd.DataFrame(columns).to_parquet(folder / "made.bin")
    return (folder / "made.bin").read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.CSV", CSV),
        ("a.csv", CSV.replace(b"\n", b"\r\n")),
        ("a.csv", CSV.rstrip(b"\n")),
        ("a.csv", CSV.replace(b"\n", b"\n\n")),
        ("a.tsv", CSV.replace(b",", b"\t")),
        ("a.jsonl", b'{"text": "good", "label": "positive"}\n\n{"label": "negative", "text": "bad"}'),
    ],
    ids=["csv", "upper case", "crlf", "no last newline", "blank lines", "tsv", "jsonl"],
)
def test_each_text_format_gives_the_same_rows(tmp_path, name, content):
    """CSV, TSV and JSONL give text and label as strings in the order of the file."""
    assert read_rows(tmp_path / name, content) == ROWS


def test_parquet_gives_the_same_rows(tmp_path):
    """Parquet gives text and label as strings in the order of the file."""
    content = make_parquet(tmp_path, text=["good", "bad"], label=["positive", "negative"])
    assert read_rows(tmp_path / "a.parquet", content) == ROWS


def test_columns_are_found_by_name_whatever_their_place(tmp_path):
    """The text and label columns are the named ones; the others are left behind."""
    content = b"id,Sentiment,Comment\n1,positive,good\n"
    assert read_rows(tmp_path / "a.csv", content, "Comment", "Sentiment") == [("good", "positive")]


@pytest.mark.parametrize("text", ["NA", "None", "null", "nan", "N/A", "NULL", "-", "1.0", "007", "True", "1e5"])
def test_text_that_looks_like_a_value_stays_text_in_csv(tmp_path, text):
    """A comment that says NA, null or 007 is a comment, as text and as label."""
    assert read_rows(tmp_path / "a.csv", f"text,label\n{text},{text}\n".encode()) == [(text, text)]


def test_an_empty_cell_is_an_empty_string(tmp_path):
    """Empty cells and cells that a short row lacks are "", for the validation to drop."""
    assert read_rows(tmp_path / "a.csv", b"text,label\n,positive\ngood,\nbad\n") == [
        ("", "positive"),
        ("good", ""),
        ("bad", ""),
    ]


def test_a_missing_value_is_an_empty_string_in_jsonl(tmp_path):
    """Null and a key that a line lacks are ""."""
    content = b'{"text": null, "label": "positive"}\n{"text": "good"}\n'
    assert read_rows(tmp_path / "a.jsonl", content) == [("", "positive"), ("good", "")]


def test_a_missing_value_is_an_empty_string_in_parquet(tmp_path):
    """Null in Parquet is ""."""
    content = make_parquet(tmp_path, text=[None, "good"], label=["positive", None])
    assert read_rows(tmp_path / "a.parquet", content) == [("", "positive"), ("good", "")]


def test_a_whole_number_label_has_no_point_in_jsonl(tmp_path):
    """A star rating next to a missing one is still "5", not "5.0"."""
    content = b'{"text": "good", "label": 5}\n{"text": "bad"}\n'
    assert read_rows(tmp_path / "a.jsonl", content) == [("good", "5"), ("bad", "")]


@pytest.mark.parametrize("labels", [[5, 1], [5.0, 1.0], ["5", "1"]], ids=["int", "float", "string"])
def test_a_whole_number_label_has_no_point_in_parquet(tmp_path, labels):
    """A star rating is "5" whatever the type of its column."""
    content = make_parquet(tmp_path, text=["good", "bad"], label=labels)
    assert read_rows(tmp_path / "a.parquet", content) == [("good", "5"), ("bad", "1")]


def test_a_label_loses_the_spaces_around_it_and_a_text_keeps_them(tmp_path):
    """Labels are stripped; texts are as found."""
    assert read_rows(tmp_path / "a.csv", b"text,label\n good , positive \n") == [(" good ", "positive")]


def test_a_quoted_cell_holds_separators_and_newlines(tmp_path):
    """Commas, newlines and doubled quotes inside quotes belong to the text."""
    content = b'text,label\n"so, ""good""\nagain",positive\n'
    assert read_rows(tmp_path / "a.csv", content) == [('so, "good"\nagain', "positive")]


def test_emoji_and_other_scripts_come_through(tmp_path):
    """UTF-8 text of any script is read as it is."""
    text = "\u0645\u0645\u062a\u0627\u0632 \u597d \U0001f600"
    assert read_rows(tmp_path / "a.csv", f"text,label\n{text},positive\n".encode()) == [(text, "positive")]


def test_a_line_separator_character_inside_a_json_text_is_text(tmp_path):
    """Only a newline ends a line of JSONL; U+2028 inside a string is part of the text."""
    line = json.dumps({"text": "good\u2028bad\u0085", "label": "positive"}, ensure_ascii=False)
    assert read_rows(tmp_path / "a.jsonl", line.encode()) == [("good\u2028bad\u0085", "positive")]


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig"])
def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path, encoding):
    """A CSV saved by a spreadsheet, with a byte order mark, is read fine."""
    assert read_rows(tmp_path / "a.csv", b"\xef\xbb\xbf" + CSV, encoding=encoding) == ROWS


def test_a_byte_order_mark_does_not_break_jsonl(tmp_path):
    """JSONL with a byte order mark is read fine."""
    content = b'\xef\xbb\xbf{"text": "good", "label": "positive"}\n'
    assert read_rows(tmp_path / "a.jsonl", content) == [("good", "positive")]


def test_latin_1_bytes_name_the_byte_the_line_and_the_key(tmp_path, sentence):
    """A file that is not UTF-8 says which byte on which line, and which key to set."""
    message = say_mistake(tmp_path / "a.csv", "text,label\nok,positive\ncaf\u00e9,positive\n".encode("latin-1"))
    assert message == sentence


def test_latin_1_is_read_when_the_encoding_says_so(tmp_path):
    """The same bytes are read with encoding latin-1."""
    content = "text,label\ncaf\u00e9,positive\n".encode("latin-1")
    assert read_rows(tmp_path / "a.csv", content, encoding="latin-1") == [("caf\u00e9", "positive")]


def test_utf_16_with_a_mark_is_told(tmp_path):
    """UTF-16 as Windows writes it is refused with the key to set."""
    message = say_mistake(tmp_path / "a.csv", CSV.decode().encode("utf-16"))
    assert message.startswith("'a.csv' is not utf-8: byte 0xff on line 1;")
    assert "dataset.encoding" in message


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told(tmp_path, encoding, sentence):
    """UTF-16 without a mark shows as NUL characters and is refused with the way out."""
    assert say_mistake(tmp_path / "a.csv", CSV.decode().encode(encoding)) == sentence


def test_utf_16_is_read_when_the_encoding_says_so(tmp_path):
    """The same bytes are read with encoding utf-16."""
    assert read_rows(tmp_path / "a.csv", CSV.decode().encode("utf-16"), encoding="utf-16") == ROWS


def test_a_single_nul_character_names_its_line(tmp_path):
    """A stray NUL in an otherwise fine file is found by its line."""
    assert "NUL character on line 3" in say_mistake(tmp_path / "a.csv", CSV.replace(b"bad", b"b\x00d"))


@pytest.mark.parametrize("encoding", ["utf-99", "hex", ""])
def test_an_unknown_encoding_names_the_usual_ones(tmp_path, encoding, sentence):
    """An encoding that does not exist, or is none for text, is told with two that are."""
    assert say_mistake(tmp_path / "a.csv", CSV, encoding=encoding) == sentence


def test_a_missing_text_column_names_what_is_there_and_the_nearest(tmp_path, sentence):
    """A text column that is not in the file is told with the columns, the nearest and the key."""
    assert say_mistake(tmp_path / "a.csv", b"texts,label,id\ngood,positive,1\n") == sentence


def test_a_missing_label_column_names_its_own_key(tmp_path, sentence):
    """A label column that is not in the file is told with the key that names it."""
    assert say_mistake(tmp_path / "a.csv", b"text,lable\ngood,positive\n") == sentence


def test_a_missing_column_without_a_near_one_lists_them_all(tmp_path):
    """Where no column is near, there is no guess."""
    message = say_mistake(tmp_path / "a.jsonl", b'{"body": "good", "stars": 5}\n')
    assert "Did you mean" not in message
    assert "Known: body, stars." in message


def test_a_missing_column_is_told_for_parquet(tmp_path):
    """Parquet columns are checked as those of text files are."""
    message = say_mistake(tmp_path / "a.parquet", make_parquet(tmp_path, texts=["good"], label=["positive"]))
    assert "Did you mean 'texts'?" in message


def test_one_column_for_both_is_a_dataset_error(tmp_path):
    """A text column that is also the label column is told, not a crash."""
    message = say_mistake(tmp_path / "a.csv", CSV, text="text", label="text")
    assert "dataset.label_column" in message


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_parquet_under_a_text_name_is_told(tmp_path, name, sentence):
    """A Parquet file renamed to a text format says what it is."""
    content = make_parquet(tmp_path, text=["good"], label=["positive"])
    assert say_mistake(tmp_path / name, content) == sentence


def test_a_zip_under_a_text_name_is_told(tmp_path, sentence):
    """A zip archive, or a spreadsheet, renamed to CSV says what it is."""
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
    assert say_mistake(tmp_path / "a.csv", (tmp_path / "made.zip").read_bytes()) == sentence


@pytest.mark.parametrize("content", [CSV, b"", b"PK\x03\x04"], ids=["csv", "empty", "zip"])
def test_another_file_under_a_parquet_name_is_told(tmp_path, content, sentence):
    """A file that is no Parquet file says so, whatever its ending."""
    assert say_mistake(tmp_path / "a.parquet", content) == sentence


@pytest.mark.parametrize("cut", [slice(4), slice(40), slice(-20)], ids=["head only", "half", "no end"])
def test_a_damaged_parquet_file_is_told(tmp_path, cut, sentence):
    """A Parquet file whose end was lost says that it is damaged."""
    content = make_parquet(tmp_path, text=["good"] * 50, label=["positive"] * 50)[cut]
    assert say_mistake(tmp_path / "a.parquet", content) == sentence


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf"], ids=["no bytes", "white space", "mark only"])
def test_an_empty_csv_is_told(tmp_path, content, sentence):
    """A CSV without a header line says that it is empty."""
    assert say_mistake(tmp_path / "a.csv", content) == sentence


@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["no bytes", "white space"])
def test_an_empty_jsonl_is_told(tmp_path, content, sentence):
    """A JSONL without a line says that it is empty."""
    assert say_mistake(tmp_path / "a.jsonl", content) == sentence


def test_a_header_alone_gives_no_rows(tmp_path):
    """A header without rows is a table of no rows."""
    assert read_rows(tmp_path / "a.csv", b"text,label\n") == []


def test_a_broken_json_line_names_its_line(tmp_path):
    """A line that is not JSON is found by its number, blank lines counted."""
    content = b'{"text": "good", "label": "positive"}\n\n{"text": "bad", \n'
    message = say_mistake(tmp_path / "a.jsonl", content)
    assert message.startswith("'a.jsonl' line 3 is not JSON (")
    assert message.endswith("); wanted one object a line.")


@pytest.mark.parametrize("line", [b'["good", "positive"]', b'"good"', b"5"], ids=str)
def test_a_json_line_that_is_no_object_names_its_line(tmp_path, line, sentence):
    """A line of JSON that is no object says what it is."""
    content = b'{"text": "good", "label": "positive"}\n' + line
    assert say_mistake(tmp_path / "a.jsonl", content) == sentence


def test_a_later_row_with_too_many_cells_names_its_line(tmp_path, sentence):
    """A comma that nobody quoted is found by its line."""
    message = say_mistake(tmp_path / "a.csv", b"text,label\ngood,positive\nso, so,neutral\n")
    assert message == sentence


def test_a_first_row_with_too_many_cells_shifts_nothing(tmp_path):
    """A comma that nobody quoted in the first row is told too, and no cell slides into another column."""
    message = say_mistake(tmp_path / "a.csv", b"text,label\nso, so,neutral\ngood,positive\n")
    assert "quote cells that hold the separator" in message


def test_a_quote_that_never_closes_is_told(tmp_path):
    """An open quote that swallows the rest of the file is told."""
    message = say_mistake(tmp_path / "a.csv", b'text,label\n"good,positive\nbad,negative\n')
    assert message.startswith("'a.csv' is not a table separated by ',': EOF inside string")


def test_another_separator_shows_as_one_column(tmp_path):
    """A file separated by semicolons shows the whole header as the nearest column."""
    assert "Did you mean 'text;label'?" in say_mistake(tmp_path / "a.csv", CSV.replace(b",", b";"))


def test_a_lone_surrogate_in_json_becomes_a_replacement_character(tmp_path):
    """Half a character cannot be kept; the row is."""
    file = tmp_path / "made.jsonl"
    file.write_text(json.dumps({"text": "a\ud800", "label": "b"}))
    assert read_table(file, "text", "label")["text"].tolist() == ["a\ufffd"]


def test_json_that_is_nested_too_deeply_is_told(tmp_path, refuses):
    """A line that only breaks parsers is told by its number."""
    file = tmp_path / "made.jsonl"
    file.write_text("[" * 100_000)
    with refuses(DatasetError):
        read_table(file, "text", "label")
