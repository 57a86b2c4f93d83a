"""Addresses of sources: what scheme they have, how they are shown, and which hosts may be asked."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mellm.stream.errors import SourceTimeout, SourceUnreachable, SourceUnsupported
from mellm.stream.sources.media import find

Scheme: TypeAlias = Literal["path", "camera", "rtsp", "rtsps", "http", "https", "synthetic"]

KNOWN: Final = (
    "a file",
    "a folder of pictures",
    "a camera number or /dev/video*",
    "rtsp://",
    "rtsps://",
    "http://",
    "https://",
    "synthetic:",
)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SCHEMES: Final[dict[str, Scheme]] = {
    "rtsp": "rtsp",
    "rtsps": "rtsps",
    "http": "http",
    "https": "https",
    "synthetic": "synthetic",
}
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SECRET: Final = re.compile(r"pass|pwd|token|key|secret|auth|sig|user|login", re.IGNORECASE)
_METADATA: Final = frozenset(
    ipaddress.ip_address(a) for a in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")
)
_PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def scheme_of(uri: str, *, recording: bool = False) -> Scheme:
    """What kind of address it is. What is there on disk is a path, whatever its name looks like.

    :param recording: only a recording is expected: ``001`` is a folder, if there is one, and no camera
    :raises SourceUnsupported: for a scheme that is not one of :data:`KNOWN`
    """
    if re.fullmatch(r"\d{1,3}", uri):
        return "path" if recording and _exists(uri) else "camera"
    if re.fullmatch(r"/dev/(video\d+|v4l/.+)", uri):
        return "camera"
    match = _SCHEME.match(uri)
    if match is None or _exists(uri):
        return "path"
    name = match[1].lower()
    if name in _SCHEMES:
        return _SCHEMES[name]
    if name == "file":
        raise SourceUnsupported(f"{redact(uri)}: file addresses are not read", remedy="give the path itself")
    raise SourceUnsupported(
        f"{redact(uri)}: unknown kind of source {name + ':'!r}", remedy=f"use {', '.join(KNOWN)}"
    )


def _exists(name: str) -> bool:
    try:
        return find(name).exists()
    except (OSError, ValueError):  # too long for a name, or with a zero byte in it
        return False


def redact(uri: str) -> str:
    """The address without user, password and query values that look like secrets.

    >>> redact("rtsp://admin:pass@cam/1?token=abc&channel=2")
    'rtsp://***@cam/1?token=***&channel=2'
    """
    match = _SCHEME.match(uri)
    if match is None or "//" not in uri:
        return uri if _exists(uri) else _typo(uri)
    # by hand: urlsplit gives up on odd hosts, and a secret must not show because of that
    head, _, rest = uri.partition("//")
    cut = min((i for i in map(rest.find, "/?#") if i >= 0), default=len(rest))
    host, tail = rest[:cut], rest[cut:]
    if "@" in tail and "@" not in host and ":" in host:  # a password with a slash in it
        host, tail = "***@" + tail.rpartition("@")[2], ""
    elif "@" in host:
        host = "***@" + host.rpartition("@")[2]
    path, mark, query = tail.partition("?")
    # some cameras want user=…_password=… in the path
    path = "/".join("***" if "=" in part and _SECRET.search(part) else part for part in path.split("/"))
    if mark:
        pairs = parse_qsl(query, keep_blank_values=True)
        shown = [(k, "***" if _SECRET.search(k) else v) for k, v in pairs]
        query = urlencode(shown, safe="*/:,") if shown else query
    return f"{head}//{host}{path}{mark}{query}"


def redact_text(text: str) -> str:
    """A sentence with each address in it as :func:`redact` shows it.

    >>> redact_text("cannot read rtsp://admin:pass@cam/1, sorry")
    'cannot read rtsp://***@cam/1, sorry'
    """
    return _ADDRESS.sub(lambda found: redact(found[0]), text)


def _typo(uri: str) -> str:
    """What is no address may be one with a slip of the pen: ``rtsp//me:pass@cam``, ``me:pass@cam/1``."""
    head, mark, rest = uri.partition("//") if "//" in uri else ("", "", uri)
    before, at, after = rest.rpartition("@")
    return f"{head}{mark}***@{after}" if at and ":" in before else uri


@dataclass(frozen=True, slots=True)
class Host:
    """A host that was looked up and found allowed.

    :param uri: the address to connect to; under ``public`` its host is the number that was checked, so that
        a second look-up cannot lead elsewhere
    :param name: host and port as the user named them, for the HTTP ``Host`` header
    """

    uri: str
    name: str


def resolve(uri: str, *, policy: Literal["any", "public"], timeout_s: float) -> Host:
    """Look the host up and judge its addresses.

    Cloud metadata addresses, multicast and ``0.0.0.0`` are refused always; ``public`` refuses every
    address that is not globally routable, however it is written (decimal, octal, IPv4 in IPv6).

    :raises SourceUnsupported: the address is malformed or not allowed
    :raises SourceUnreachable: the host is unknown
    :raises SourceTimeout: the name service does not answer
    """
    shown = redact(uri)
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        host, port = None, 0
    if not host or not port or any(c in uri for c in "\r\n\t\0 \\"):
        raise SourceUnsupported(f"{shown}: malformed address", remedy="give it as rtsp://host:port/path")
    found = [ipaddress.ip_address(a) for a in _lookup(host, port, shown, timeout_s)]
    for address in found:
        _judge(address, policy, shown)
    pinned = uri
    if policy == "public" and parts.scheme.lower() in ("rtsp", "http"):
        number = f"[{found[0]}]" if found[0].version == 6 else str(found[0])
        user, at, _ = parts.netloc.rpartition("@")
        pinned = urlunsplit(parts._replace(netloc=f"{user}{at}{number}:{port}"))
    return Host(pinned, f"{host}:{port}" if parts.port else host)


def _judge(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, policy: Literal["any", "public"], shown: str
) -> None:
    inner = _embedded(address)
    bad = inner in _METADATA or inner.is_multicast or inner.is_unspecified
    if bad or (policy == "public" and not (inner.is_global and address.is_global)):
        raise SourceUnsupported(
            f"{shown}: its host is an address that may not be asked ({inner})",
            remedy="only public addresses are allowed here" if not bad else "name the camera's own address",
        )


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside a mapped, 6to4, Teredo or NAT64 address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return ipaddress.ip_address(int(address) & 0xFFFFFFFF)
        teredo = address.teredo
        return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
    return address


def _lookup(host: str, port: int, shown: str, timeout_s: float) -> list[str]:
    """:func:`socket.getaddrinfo` with a time-out, which it does not have."""
    found: list[str] = []
    problem: list[Exception] = []

    def ask() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(str(entry[4][0]).partition("%")[0] for entry in entries)
        except (OSError, UnicodeError) as error:
            problem.append(error)

    thread = threading.Thread(target=ask, name="mellm-lookup", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise SourceTimeout(
            f"{shown}: looking up {host!r} took over {timeout_s:g} s", remedy="check the network"
        )
    if problem or not found:
        raise SourceUnreachable(f"{shown}: unknown host {host!r}", remedy="check the name and the network")
    return found
