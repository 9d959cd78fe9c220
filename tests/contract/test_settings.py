"""The settings of the service, and the environment variables that the product reads."""

import re

from pydantic_core import PydanticUndefined

from sentiment.paths import CHECKOUT
from service.settings import ServiceSettings
from tests.contract.project import list_sources

VARIABLE = re.compile(r'"((?:SENTIMENT|SENTIGATE|DATABASE)_[A-Z0-9_]+)"')
PREFIX = ServiceSettings.model_config["env_prefix"]


def test_the_settings_of_the_service_stay(snapshot):
    """An operator keeps the name, the type, the default and the bounds of each setting."""
    lines = []
    for name, field in ServiceSettings.model_fields.items():
        assert field.default is not PydanticUndefined
        bounds = " ".join(map(repr, field.metadata))
        kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        lines.append(f"{PREFIX}{name.upper()}: {kind} = {field.default!r}  {bounds}".rstrip())
        lines.append(f"    {field.description}")

    assert "\n".join(lines) == snapshot


def test_the_environment_variables_of_the_product_stay(snapshot):
    """A deployment sets these by name, in whichever file the product reads them."""
    names = {name for path in list_sources() for name in VARIABLE.findall((CHECKOUT / path).read_text("utf-8"))}

    assert "\n".join(sorted(names)) == snapshot
