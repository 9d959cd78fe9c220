"""Client of the Sentigate service: typed answers, safe retries, synchronous and asynchronous. It needs httpx alone."""

from sentigate_client import answers, errors
from sentigate_client.client import AsyncSentigateClient, SentigateClient, __version__
from sentigate_client.errors import SentigateError
from sentigate_client.retries import Retries

__all__ = ["AsyncSentigateClient", "Retries", "SentigateClient", "SentigateError", "__version__", "answers", "errors"]
