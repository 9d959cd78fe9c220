"""What is said of an image, without building one."""

import inspect
import re

import bentoml._internal.container
import pytest

from deploy.images.build import BASE_IMAGE, OWN_WORDS, TEMPLATE, BuiltBento, find_mistake, list_labels, read_source
from sentiment.paths import CHECKOUT

BENTO = BuiltBento("3-7dfa72db3c90", "3-7dfa72db3c90", "7dfa72db3c90" + "0" * 52, "c" * 40)


def test_labels_name_the_bento_the_model_and_the_commit():
    """What the open containers initiative has a name for goes by that name."""
    labels = list_labels(BENTO, "python:3.11", "sha256:abc", "https://example.org/sentigate")
    assert labels.pop("org.opencontainers.image.created").endswith("+00:00")
    assert labels == {
        "org.opencontainers.image.title": "sentigate",
        "org.opencontainers.image.version": "3-7dfa72db3c90",
        "org.opencontainers.image.revision": "c" * 40,
        "org.opencontainers.image.source": "https://example.org/sentigate",
        "org.opencontainers.image.base.name": "python:3.11",
        "org.opencontainers.image.base.digest": "sha256:abc",
        "sentigate.model.version": "3-7dfa72db3c90",
        "sentigate.model.digest": "7dfa72db3c90" + "0" * 52,
    }


def test_what_is_not_known_has_no_label():
    """An empty label would be a claim."""
    labels = list_labels(BuiltBento("3", "3", "d", ""), "python:3.11", "", "")
    assert "org.opencontainers.image.revision" not in labels
    assert all(labels.values())


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("https://github.com/me/sentigate.git", "https://github.com/me/sentigate"),
        ("https://me:secret@github.com/me/sentigate", "https://github.com/me/sentigate"),
        ("git@github.com:me/sentigate.git", "https://github.com/me/sentigate"),
        ("/srv/git/sentigate", ""),
        ("", ""),
    ],
)
def test_the_source_is_an_address_without_a_password(address, source):
    """What git fetches from becomes what a browser opens, or nothing."""
    assert read_source(address) == source


def test_the_first_mistake_of_a_build_is_its_reason():
    """Everything after it only repeats that the build failed."""
    output = (
        "INFO: STEP 3/9: RUN python -m pip\n"
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
        "Error: building at STEP 3: exit status 1\n"
        "ERROR: Encountered exception while trying to building image: exit status 125\n"
    )
    assert find_mistake(output) == "THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE"


def test_a_build_that_only_stops_has_its_last_words():
    """Something is said in any case."""
    assert find_mistake("one\nkilled\n") == "killed"


@pytest.mark.parametrize(
    "name",
    ["images/Dockerfile", "compose/mlflow/Dockerfile", "huggingface/templates/Dockerfile", "compose/compose.yaml"],
    ids=str,
)
def test_every_base_is_the_one_by_its_digest(name):
    """A tag is moved by whoever may push it."""
    text = (CHECKOUT / "deploy" / name).read_text(encoding="utf-8")
    bases = re.findall(r"^(?:ARG BASE_IMAGE=|FROM (?!\$)| +BASE_IMAGE: \$\{BASE_IMAGE:-)([^\s}]+)", text, re.MULTILINE)
    assert bases == [BASE_IMAGE]
    assert re.search("@sha256:[0-9a-f]{64}$", BASE_IMAGE)


def test_bentoml_builds_an_image_as_we_read_it():
    """`deploy/images/build.py` looks for its template in a Bento, and passes over its own words in a log."""
    source = inspect.getsource(bentoml._internal.container)
    assert f'"{TEMPLATE}"' in source, "BentoML keeps the template elsewhere; follow it with TEMPLATE"
    assert OWN_WORDS in source, "BentoML ends the log of a build with other words; follow it with OWN_WORDS"
