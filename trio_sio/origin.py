"""What an ``Origin`` and a ``Host`` header can say: how browsers write them (URL standard, "host serializing", HTML, "origin")."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ["fault_of_host", "fault_of_origin", "split_host", "split_origin"]

_DEFAULT_PORTS: Final = {"http": "80", "ws": "80", "https": "443", "wss": "443"}
_LARGEST_PORT: Final = 65_535

# As it comes over the wire: what is none of these is nobody's.
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(?::([0-9]{1,5}))?", re.IGNORECASE)

# As somebody lists it.
_LISTED: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#\\\s,]*)", re.IGNORECASE)
_LISTED_HOST: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", re.DOTALL)
_NAME: Final = re.compile(r"[a-z0-9_-][a-z0-9._-]*", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


def split_origin(origin: str) -> tuple[str, str | None] | None:
    """Return host, in small letters, and port of ``origin``, ``None`` for the scheme's own; ``None`` if it is that of no page."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return None
    scheme, host, port = match.groups()
    return host.lower(), None if port == _DEFAULT_PORTS.get(scheme.lower()) else port


def split_host(host: str) -> tuple[str, str | None] | None:
    """Return name, in small letters, and port of a ``Host``, ``None`` for a default one; ``None`` if it is no host.

    Behind a proxy that ends TLS nothing tells which of the two default ports was meant, so both are the same.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return None
    name, port = match.groups()
    return name.lower(), None if port in ("80", "443") else port


def fault_of_origin(origin: object) -> str | None:
    """Return why no page has ``origin``, as the end of a sentence that says what to write instead; ``None``: one may have it."""
    if not isinstance(origin, str):
        what = "function" if callable(origin) else "pattern"
        if callable(origin) or isinstance(origin, re.Pattern):
            return f"is a {what}, which stands alone: CORS(origins={what}), without a list around it."
        return 'is not text; write it as in "https://app.example".'
    if origin == "null":
        return None
    if origin != origin.strip():
        return f"has blanks around it; write {origin.strip()!r}."
    match = _LISTED.fullmatch(origin)
    if match is None:
        return 'is not an origin; write scheme, host and port only, as in "https://app.example" or "http://localhost:5173".'
    scheme, where = match[1].lower(), match[2]
    if "*" in where:
        return r'has a wildcard, which means nothing here; give a pattern: CORS(origins=re.compile(r"https://[a-z0-9-]+\.app\.example")).'
    if "@" in where:
        return f"has a user name, which browsers leave out; write {scheme + '://' + where.rpartition('@')[2]!r}."
    if scheme in ("ws", "wss"):
        return f"is a WebSocket's, but browsers send the page's; write {scheme.replace('ws', 'http', 1) + '://' + where!r}."
    if scheme not in _DEFAULT_PORTS:
        # Those of apps and of browser extensions, each of which has rules of its own.
        return None if match[1] == scheme else f"is not as it is sent; write {scheme + '://' + where!r}."
    if (fault := _fault_of(where)) is not None:
        return fault
    name, _, port = _partition(where)
    sent = f"{scheme}://{name}" + ("" if not port or port == _DEFAULT_PORTS[scheme] else f":{port}")
    return None if sent == origin else f"is not as browsers send it; write {sent!r}."


def fault_of_host(host: object) -> str | None:
    """Return why no request names ``host``, as the end of a sentence that says what to write instead; ``None``: one may."""
    if not isinstance(host, str):
        return 'is not text; write it as in "app.example".'
    if host != host.strip():
        return f"has blanks around it; write {host.strip()!r}."
    if "*" in host:
        return "has a wildcard; list every name, or leave Config.allowed_hosts out to be asked by any."
    if re.search(r"[/?#\\\s,@]", host) or not host:
        return 'is not a host; write name and port only, as in "app.example" or "localhost:3000".'
    if (fault := _fault_of(host)) is not None:
        return fault
    name, colon, port = _partition(host)
    return None if name + colon + port == host.lower() else f"is not as browsers send it; write {name + colon + port!r}."


def _partition(where: str) -> tuple[str, str, str]:
    """Return the name as browsers write it, the colon if there is one, and the port."""
    match = _LISTED_HOST.fullmatch(where)
    assert match is not None
    name, port = match[1].lower(), match[2]
    if name.startswith("["):
        ip = ipaddress.IPv6Address(name[1:-1])
        mapped = ip.ipv4_mapped
        name = f"[{ip.compressed}]" if mapped is None else "[::ffff:{:x}:{:x}]".format(*divmod(int(mapped), 1 << 16))
    return name, "" if port is None else ":", port or ""


def _fault_of(where: str) -> str | None:
    match = _LISTED_HOST.fullmatch(where)
    if not where.isascii():
        return 'has letters beyond ASCII, which browsers send as "xn--..."; write what location.origin is on that page.'
    if match is None:
        return "has no host that a browser could ask for."
    name, port = match[1], match[2]
    if port is not None and ":" in port:
        return 'has more than one colon; an address of version 6 stands in brackets, as in "[::1]:3000".'
    if port is not None and not (re.fullmatch(r"[1-9][0-9]{0,4}", port) and int(port) <= _LARGEST_PORT):
        return f"has the port {port!r}, which there is not; write a number from 1 to {_LARGEST_PORT}, or no colon."
    if name.startswith("["):
        kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address] = ipaddress.IPv6Address
        name = name[1:-1]
    elif not _NAME.fullmatch(name):
        return "has no host that a browser could ask for."
    elif _NUMBER.fullmatch(name.removesuffix(".").rpartition(".")[2]):
        # What ends in a number is an address of version 4, however short, to a browser.
        kind = ipaddress.IPv4Address
    else:
        return None
    try:
        kind(name)
    except ValueError:
        return "has no address that a browser would send in this form; write four decimal numbers, or [...] around one of version 6."
    return None
