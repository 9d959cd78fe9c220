"""What goes into the Bento."""

import yaml
from bentoml._internal.bento.build_config import BentoPathSpec

from sentiment.state import CHECKOUT


def test_every_file_of_the_service_is_in_the_bento():
    """A Bento that is served elsewhere has the pages, and whatever else the service reads."""
    included = yaml.safe_load((CHECKOUT / "bentofile.yaml").read_text(encoding="utf-8"))["include"]
    taken = BentoPathSpec(included, [])

    files = [path for path in (CHECKOUT / "service").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert [path.name for path in files if not taken.includes(path.relative_to(CHECKOUT).as_posix())] == []
