"""Which addresses are one caller's, where attempts are counted. Pure."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

_SITE_BITS: Final = 64


def counted_as(address: str) -> str:
    """What attempts by ``address`` count for: itself, and of IPv6 the network of 64 bits, because
    every customer has at least that many addresses to come from (RFC 6177 §2). IPv4 written as IPv6
    is IPv4."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, _SITE_BITS), strict=False))
