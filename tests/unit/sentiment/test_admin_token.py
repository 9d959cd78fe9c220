"""The token of an installation."""

import multiprocessing

import pytest

from sentiment.admin_token import make_admin_token, read_admin_token
from sentiment.errors import ConfigError


def test_a_token_is_made_once_for_its_owner(tmp_path):
    """The folder is made with it; whoever comes later reads the same."""
    file = tmp_path / "state" / "admin_token"
    token = make_admin_token(file)

    assert len(token) >= 40
    assert (make_admin_token(file), read_admin_token(file)) == (token, token)
    assert file.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in file.parent.iterdir()} == {"admin_token", "admin_token.lock"}


def test_processes_that_start_together_have_one_token(tmp_path):
    """Of workers that make one at once one makes it for all."""
    context = multiprocessing.get_context("fork")
    with context.Pool(8) as pool:
        tokens = pool.map(make_admin_token, [tmp_path / "admin_token"] * 64, chunksize=1)

    assert len(set(tokens)) == 1


def test_a_token_that_others_could_read_is_closed(tmp_path):
    """A copy or a restore may have opened it."""
    token = make_admin_token(tmp_path / "admin_token")
    (tmp_path / "admin_token").chmod(0o644)

    assert read_admin_token(tmp_path / "admin_token") == token
    assert (tmp_path / "admin_token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "\n", "short", "\u00e9" * 50])
def test_a_file_that_holds_no_token_is_said(tmp_path, content, refuses):
    """Nothing that could be guessed becomes a token."""
    (tmp_path / "admin_token").write_text(content, encoding="utf-8")
    with refuses(ConfigError):
        make_admin_token(tmp_path / "admin_token")


def test_where_no_token_can_be_written_there_is_none(tmp_path):
    """A service on a disk that it cannot write has no operator without keys."""
    (tmp_path / "file").write_text("")

    assert make_admin_token(tmp_path / "file" / "admin_token") == ""
    assert read_admin_token(tmp_path / "nowhere") == ""
