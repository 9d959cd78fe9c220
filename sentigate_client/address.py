"""Where a service is, and whether a key may be sent there."""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from sentigate_client.errors import UsageError

KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Address:
    """The URL of a service without a slash at its end, and the key for it, which may be empty."""

    url: str
    key: str = field(default="", repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def open_address(url: str, key: str, *, allow_plain_http: bool) -> Address:
    """Return a checked address.

    Raises UsageError for a URL of no service, a key that fits in no header, and a key that would leave this machine
    unencrypted while `allow_plain_http` is false.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"} or not KEY.fullmatch(url):
        raise UsageError(f"{url!r} is not the address of a service; wanted for example http://127.0.0.1:3000.")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError("the address holds a password, a query or a fragment; pass a key as `api_key`.")
    if key and not KEY.fullmatch(key):
        raise UsageError("the key has a character that no key has; wanted one line of visible ASCII characters.")
    if key and parts.scheme == "http" and not (allow_plain_http or is_loopback(host)):
        raise UsageError(f"the key would go to {url} unencrypted; wanted https://, or `allow_plain_http=True`.")
    return Address(url.rstrip("/"), key)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine itself. Of names, only localhost is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
