"""Hosts by name or address: which of them are this machine itself."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone; a name other than localhost cannot be said."""
    try:
        address = ip_address(host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return host == "localhost"
