import pytest


@pytest.fixture(autouse=True)
def state_folder(tmp_path_factory, monkeypatch):
    """A state folder of the test's own: the token of this checkout is none of its business."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", str(tmp_path_factory.mktemp("state")))
