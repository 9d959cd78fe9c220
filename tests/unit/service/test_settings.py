import pytest
from pydantic import ValidationError

from service.settings import ServiceSettings

NAMES = sorted(ServiceSettings.model_fields)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(f"SENTIMENT_{name.upper()}", raising=False)


@pytest.mark.parametrize(
    ("name", "limit"), [("max_text_chars", 10_000), ("max_batch_texts", 256), ("max_body_bytes", 1_000_000)]
)
def test_the_limits_of_a_request_are_the_published_ones(name, limit):
    """Without a variable a service keeps the limits that its callers know."""
    assert getattr(ServiceSettings(), name) == limit


def test_a_full_batch_fits_into_an_idle_queue():
    """By default a batch at its limit is never refused by a service that has nothing to do."""
    settings = ServiceSettings()

    assert settings.max_batch_texts <= settings.max_queued_texts


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_sets_its_limit(name, monkeypatch):
    """`SENTIMENT_` and the name of a setting set it."""
    monkeypatch.setenv(f"SENTIMENT_{name.upper()}", "7")

    assert getattr(ServiceSettings(), name) == 7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_limit_that_is_not_a_positive_whole_number_is_refused(name, value, monkeypatch):
    """A setting that would answer nobody is refused at the start, by its name."""
    monkeypatch.setenv(f"SENTIMENT_{name.upper()}", value)

    with pytest.raises(ValidationError, match=name):
        ServiceSettings()


def test_one_is_a_limit():
    """The smallest limit is one."""
    assert ServiceSettings(max_texts_per_call=1).max_texts_per_call == 1


def test_settings_do_not_change_once_read():
    """A limit stays what it was when the service started."""
    settings = ServiceSettings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.max_text_chars = 5


def test_variables_of_other_parts_are_left_alone(monkeypatch):
    """A `SENTIMENT_` variable that is not a setting of the service does not stop it."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", "somewhere")

    assert not hasattr(ServiceSettings(), "state_dir")
