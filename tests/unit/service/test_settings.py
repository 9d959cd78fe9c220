from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import ServiceSettings

NAMES = sorted(ServiceSettings.model_fields)
LIMITS = [
    "engine_threads",
    "explain_max_evaluations",
    "explain_max_words",
    "max_batch_texts",
    "max_body_bytes",
    "max_queued_texts",
    "max_text_chars",
    "max_texts_per_call",
    "spool_max_bytes",
]
SWITCHES = ["log_predictions", "log_required", "log_sync"]


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


@pytest.mark.parametrize("name", LIMITS)
def test_a_variable_sets_its_limit(name, monkeypatch):
    """`SENTIMENT_` and the name of a setting set it."""
    monkeypatch.setenv(f"SENTIMENT_{name.upper()}", "7")

    assert getattr(ServiceSettings(), name) == 7


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_limit_that_is_not_a_positive_whole_number_is_refused(name, value, monkeypatch):
    """A setting that would answer nobody is refused at the start, by its name."""
    monkeypatch.setenv(f"SENTIMENT_{name.upper()}", value)

    with pytest.raises(ValidationError, match=name):
        ServiceSettings()


def test_one_is_a_limit():
    """The smallest limit is one."""
    assert ServiceSettings(max_texts_per_call=1).max_texts_per_call == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_predictions", True),
        ("log_text", "redacted"),
        ("log_required", True),
        ("log_sync", False),
        ("log_retention_days", 90),
        ("spool_folder", None),
        ("spool_max_bytes", 1_000_000_000),
    ],
)
def test_the_log_is_kept_as_published(name, value):
    """Without a variable every answer is logged, redacted, for ninety days, or refused."""
    assert getattr(ServiceSettings(), name) == value


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize(("value", "wanted"), [("true", True), ("1", True), ("FALSE", False), ("0", False)])
def test_a_variable_turns_its_switch(name, value, wanted, monkeypatch):
    """A switch is on or off as its variable says."""
    monkeypatch.setenv(f"SENTIMENT_{name.upper()}", value)

    assert getattr(ServiceSettings(), name) is wanted


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", ["", "7", "maybe", "None"])
def test_a_switch_that_is_neither_on_nor_off_is_refused(name, value, monkeypatch):
    """A switch is not guessed at: what is no yes and no no is refused at the start, by its name."""
    monkeypatch.setenv(f"SENTIMENT_{name.upper()}", value)

    with pytest.raises(ValidationError, match=name):
        ServiceSettings()


@pytest.mark.parametrize("kept", ["none", "hash", "redacted", "full"])
def test_what_is_kept_of_a_text_is_chosen(kept, monkeypatch):
    """`SENTIMENT_LOG_TEXT` is one of four words."""
    monkeypatch.setenv("SENTIMENT_LOG_TEXT", kept)

    assert ServiceSettings().log_text == kept


@pytest.mark.parametrize("kept", ["", "all", "FULL", "redact", "true", "none "])
def test_what_is_kept_of_a_text_is_not_guessed(kept, monkeypatch):
    """A mistake in the word does not keep more of a text than somebody wanted: it is refused, by its name."""
    monkeypatch.setenv("SENTIMENT_LOG_TEXT", kept)

    with pytest.raises(ValidationError, match="log_text"):
        ServiceSettings()


@pytest.mark.parametrize(("value", "days"), [("0", 0), ("1", 1), ("36500", 36_500)])
def test_a_variable_sets_the_retention(value, days, monkeypatch):
    """Rows are kept for a number of days, or for ever."""
    monkeypatch.setenv("SENTIMENT_LOG_RETENTION_DAYS", value)

    assert ServiceSettings().log_retention_days == days


@pytest.mark.parametrize("value", ["-1", "", "90d", "1.5"])
def test_a_retention_that_is_no_number_of_days_is_refused(value, monkeypatch):
    """A mistake in the number does not remove a row."""
    monkeypatch.setenv("SENTIMENT_LOG_RETENTION_DAYS", value)

    with pytest.raises(ValidationError, match="log_retention_days"):
        ServiceSettings()


def test_a_variable_sets_the_folder_of_the_spool(monkeypatch):
    """Entries wait where the operator wants them to."""
    monkeypatch.setenv("SENTIMENT_SPOOL_FOLDER", "/var/spool/sentigate")

    assert ServiceSettings().spool_folder == Path("/var/spool/sentigate")


def test_an_empty_folder_is_not_the_one_that_the_service_runs_in(monkeypatch):
    """A variable that is set to nothing, as compose files do it, spreads no segments over the checkout."""
    monkeypatch.setenv("SENTIMENT_SPOOL_FOLDER", "")

    assert ServiceSettings().spool_folder is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key_file", None),
        ("rate_limit", ""),
        ("cors_origins", ""),
        ("explain_max_parts", 64),
        ("explain_max_evaluations", 400),
        ("explain_max_words", 12_000),
    ],
)
def test_access_and_explanations_are_as_published(name, value):
    """Without a variable there are no keys, no limit of a rate and no other origins."""
    assert getattr(ServiceSettings(), name) == value


def test_no_challenger_answers_unless_one_is_named():
    """Without a variable there is no shadow; with one it answers a tenth of the texts."""
    assert (ServiceSettings().shadow_model, ServiceSettings().shadow_share) == ("", 0.1)


@pytest.mark.parametrize("value", ["-0.1", "1.1", "10%", "nan", ""])
def test_a_share_that_is_none_is_refused(value, monkeypatch):
    """A share is a number from 0 to 1."""
    monkeypatch.setenv("SENTIMENT_SHADOW_SHARE", value)
    with pytest.raises(ValidationError, match="shadow_share"):
        ServiceSettings()


def test_the_file_of_keys_is_named_by_a_variable(monkeypatch):
    """The keys are where the operator put them."""
    monkeypatch.setenv("SENTIMENT_API_KEY_FILE", "/run/secrets/keys.txt")

    assert ServiceSettings().api_key_file == Path("/run/secrets/keys.txt")


def test_an_empty_file_of_keys_is_refused(monkeypatch):
    """A variable that is set to nothing is a mistake, and no service that asks for no keys."""
    monkeypatch.setenv("SENTIMENT_API_KEY_FILE", "")

    with pytest.raises(ValidationError, match="it is set and names no file; name one, or unset it to ask for no keys"):
        ServiceSettings()


@pytest.mark.parametrize("value", ["", "10.0.0.1", "10.0.0.0/8, 2001:db8::/32"])
def test_proxies_are_addresses_and_networks(value, monkeypatch):
    """Who stands before the service is named by address."""
    monkeypatch.setenv("SENTIMENT_TRUSTED_PROXIES", value)

    assert ServiceSettings().trusted_proxies == value


@pytest.mark.parametrize("value", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.0/8,*"])
def test_nobody_is_trusted_by_a_wildcard(value, monkeypatch):
    """A setting that would let every caller say where it comes from is refused."""
    monkeypatch.setenv("SENTIMENT_TRUSTED_PROXIES", value)

    with pytest.raises(ValidationError, match=r"is no address or network; wanted for example 10\.0\.0\.0/8"):
        ServiceSettings()


def test_keys_are_not_printed(monkeypatch):
    """Settings that come into a log show no key, nor its digest."""
    monkeypatch.setenv("SENTIMENT_API_KEYS", "dashboard predict marmalade")
    settings = ServiceSettings()

    assert settings.api_keys.get_secret_value() == "dashboard predict marmalade"
    assert "marmalade" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("value", ["1", "0", "", "2.5", "few"])
def test_an_explanation_of_fewer_than_two_parts_is_refused(value, monkeypatch):
    """Weights of one part explain nothing."""
    monkeypatch.setenv("SENTIMENT_EXPLAIN_MAX_PARTS", value)

    with pytest.raises(ValidationError, match="explain_max_parts"):
        ServiceSettings()


def test_an_explanation_may_have_two_parts(monkeypatch):
    """Two is the smallest number of parts."""
    monkeypatch.setenv("SENTIMENT_EXPLAIN_MAX_PARTS", "2")

    assert ServiceSettings().explain_max_parts == 2


@pytest.mark.parametrize(
    "rate", ["", "600/minute", "1/second", "10/2minutes", "600 per minute", "5/day", "9/second;50/day"]
)
def test_a_rate_is_taken(rate, monkeypatch):
    """A rate is a number of requests in a time; an empty one is no limit."""
    monkeypatch.setenv("SENTIMENT_RATE_LIMIT", rate)

    assert ServiceSettings().rate_limit == rate


@pytest.mark.parametrize("rate", ["fast", "600", "/minute", "600/", "-1/minute", "1.5/second", "600/fortnight", " "])
def test_what_is_no_rate_is_refused(rate, monkeypatch, sentence):
    """A mistake in the rate does not become a service without a limit."""
    monkeypatch.setenv("SENTIMENT_RATE_LIMIT", rate)

    with pytest.raises(ValidationError) as refused:
        ServiceSettings()

    (mistake,) = refused.value.errors()
    assert mistake["loc"] == ("rate_limit",)
    assert mistake["msg"] == sentence


@pytest.mark.parametrize(
    "rate", ["0/minute", "600/minute;0/second", "600/minute;", "600/minute;;1/day", "600/minute;x"]
)
def test_a_rate_that_would_not_be_kept_is_refused(rate, monkeypatch):
    """A rate that answers nobody, or of which a part would be passed over in silence, is refused at the start."""
    monkeypatch.setenv("SENTIMENT_RATE_LIMIT", rate)

    with pytest.raises(ValidationError, match="rate_limit"):
        ServiceSettings()


def test_settings_do_not_change_once_read():
    """A limit stays what it was when the service started."""
    settings = ServiceSettings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.max_text_chars = 5


def test_variables_of_other_parts_are_left_alone(monkeypatch):
    """A `SENTIMENT_` variable that is not a setting of the service does not stop it."""
    monkeypatch.setenv("SENTIMENT_STATE_DIR", "somewhere")

    assert not hasattr(ServiceSettings(), "state_dir")


@pytest.mark.parametrize("origins", ["huggingface.co", "https://a.test; script-src *", "https://a.test/page", "*"])
def test_what_is_no_origin_gets_into_no_header(monkeypatch, origins):
    """An origin that would mean more than itself in a header stops the start."""
    monkeypatch.setenv("SENTIMENT_FRAME_ORIGINS", origins)

    with pytest.raises(ValidationError, match="is not an origin; wanted for example"):
        ServiceSettings()
