"""Which MLflow a run writes to: the one of the state folder, or the server that `MLFLOW_TRACKING_URI` names."""

import os

from pipelines.setup import TRACKER
from sentiment.paths import CHECKOUT, locate_state

VARIABLE = "MLFLOW_TRACKING_URI"
CREDENTIALS = ("tracking_username", "tracking_password", "tracking_token")
NO_CREDENTIALS = {"tracking_token": "none"}  # ZenML wants one where the server asks for none


def describe_tracking() -> dict[str, str]:
    """Return ZenML's configuration of the MLflow that this environment names."""
    uri = os.environ.get(VARIABLE) or locate_state().tracking_uri
    if not uri.startswith(("http://", "https://")):
        return {"tracking_uri": uri}
    given = {name: os.environ.get(f"MLFLOW_{name.upper()}", "") for name in CREDENTIALS}
    return {"tracking_uri": uri, **({name: value for name, value in given.items() if value} or NO_CREDENTIALS)}


def follow_tracking() -> None:
    """Point the tracker of the active stack to the MLflow that this environment names."""
    from zenml.client import Client
    from zenml.enums import StackComponentType

    client, tracker = Client(root=CHECKOUT), StackComponentType.EXPERIMENT_TRACKER
    found, wanted = client.list_stack_components(type=tracker, name=TRACKER).items, describe_tracking()
    if found and (len(wanted) > 1 or found[0].configuration.get("tracking_uri") != wanted["tracking_uri"]):
        client.update_stack_component(TRACKER, tracker, configuration=wanted)
