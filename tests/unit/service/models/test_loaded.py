"""Opening the models of a choice, and which model may answer beside another."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from sentiment.errors import BundleError
from service.models.desired_state import DesiredCanary, DesiredState
from service.models.loaded import Canary, LoadedModel, load_canary, load_model

CHOICE = DesiredCanary("b", "/bundles/canary", "5", 0.25, 1234.5)


def make_predictor(*labels: str, digest: str) -> SimpleNamespace:
    return SimpleNamespace(labels=labels, bundle=SimpleNamespace(card=SimpleNamespace(digest=digest)))


CHAMPION = LoadedModel(make_predictor("bad", "good", digest="c" * 64), "4")


def test_a_model_is_opened_from_its_folder_under_its_version():
    """What answers is what the folder holds, called as it was chosen."""
    assert load_model(DesiredState("a", "/bundles/good", "4"), lambda folder: folder) == LoadedModel(
        Path("/bundles/good"), "4"
    )


def test_a_canary_has_the_labels_of_the_champion():
    """Two models that say the same in another order can be compared."""
    predictor = make_predictor("good", "bad", digest="d" * 64)

    assert load_canary(CHOICE, CHAMPION, lambda _: predictor) == Canary(LoadedModel(predictor, "5"), CHOICE)


@pytest.mark.parametrize(
    "predictor",
    [
        make_predictor("bad", "fair", "good", digest="d" * 64),
        make_predictor("bad", "good", digest="c" * 64),
    ],
    ids=["other labels", "the champion"],
)
def test_what_cannot_be_compared_with_the_champion_is_no_canary(predictor, refuses):
    """A model that says other labels, or is the champion itself, is refused in one sentence."""
    with refuses(BundleError):
        load_canary(CHOICE, CHAMPION, lambda _: predictor)


def test_a_canary_that_is_not_sound_is_none(refuses):
    """What keeps a bundle from being opened is raised as it is."""

    def refuse(_: Path) -> None:
        raise BundleError("it is altered.")

    with refuses(BundleError):
        load_canary(CHOICE, CHAMPION, refuse)
