"""How the value of a setting is written and read. Every value arrives as text, from file, variable or flag alike."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

MASK = "********"

_SHORTEST_SECRET = 32  # bytes; as RFC 5869 §3.3 wants of what keys are derived from
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._:/-]*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@[a-z0-9]+:[a-f0-9]{32,128})?")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+")
_INTEGER = re.compile(r"[0-9]{1,9}")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253})")
_LISTEN = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]*)):(?P<port>[0-9]{1,5})")
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class Address(NamedTuple):
    """Where to listen: a host name or address (IPv6 without brackets), and a TCP port, 0 for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. Of host names, only `localhost` is taken for that."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A way to write values. `form` completes the sentence "KEY must be …"; `read` raises ValueError."""

    form: str
    read: Callable[[str], T]
    write: Callable[[T], str] = str
    secret: bool = False


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("control characters")
    return value


def _boolean(value: str) -> bool:
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise ValueError("not a boolean") from None


def _count(value: str) -> int:
    if not _INTEGER.fullmatch(value) or int(value) < 1:
        raise ValueError("not a positive number")
    return int(value)


def _limit(value: str) -> int | None:
    return None if value in ("", "unlimited") else _count(value)


def _redis(value: str) -> str:
    if value and (urlsplit(_text(value)).scheme not in ("redis", "rediss") or not urlsplit(value).hostname):
        raise ValueError("not a Redis server")
    return value


def _root_secret(value: str) -> str:
    if value and len(value.encode()) < _SHORTEST_SECRET:
        raise ValueError("too short")
    return _text(value)


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(value)
        return value

    return read


def _duration(value: str) -> float:
    match = _DURATION.fullmatch(value)
    if match is None or float(match[1]) == 0:
        raise ValueError("not a duration")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def _whole_duration(value: str) -> int:
    seconds = _duration(value)
    if not seconds.is_integer():
        raise ValueError("not whole seconds")
    return int(seconds)


def _period(value: str) -> int:
    return 0 if value == "0" else _whole_duration(value)


def write_duration(seconds: float) -> str:
    """Seconds in the largest unit that makes a whole number of at least two: 604800 is `7d`, 60 is `60s`."""
    for unit in ("d", "h", "m"):
        number = seconds / _SECONDS[unit]
        if number.is_integer() and number >= 2:
            return f"{number:.0f}{unit}"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _address(value: str) -> Address:
    match = _LISTEN.fullmatch(value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("not an address")
    if match["v6"]:
        return Address(str(ipaddress.IPv6Address(match["v6"])), int(match["port"]))
    return Address(_host(match["host"]) if match["host"] else "0.0.0.0", int(match["port"]))  # noqa: S104


def _host(value: str) -> str:
    """A name in lower case, or an address. What ends in a number is an address (resolvers take `22` for 0.0.0.22)."""
    if not _HOST.fullmatch(value) or value.rpartition(".")[2].isdecimal():
        return str(ipaddress.ip_address(value))
    return value.lower()


def _path(value: str) -> Path:
    if not value:
        raise ValueError("empty")
    return Path(_text(value))


def _optional_path(value: str) -> Path | None:
    return _path(value) if value else None


def _origin(value: str) -> str:
    """`http(s)://host[:port]` without a slash at its end; empty stays empty."""
    parts = urlsplit(_text(value))
    if not value:
        return ""
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or parts.port == 0 or " " in value:
        raise ValueError("not an origin")
    return f"{parts.scheme}://{parts.netloc}"


def _database(value: str) -> str:
    if not value:
        return ""
    parts = urlsplit(_text(value))
    if parts.scheme != "postgresql" or parts.port == 0 or not value.startswith("postgresql://"):
        raise ValueError("not a database")
    return value


def mask_password(url: str) -> str:
    """The URL with its password hidden, in front of the host or in the query; hides too much rather than too little."""
    url = re.sub(r"^([a-z]+://[^:/@]*):.*@", rf"\1:{MASK}@", url)
    return re.sub(r"([?&][a-z]*password=)[^&]*", rf"\1{MASK}", url)


def _mask(value: str) -> str:
    return MASK if value else ""


def choice(*names: str) -> Kind[str]:
    """One of these words."""

    def read(value: str) -> str:
        if value not in names:
            raise ValueError("not among the choices")
        return value

    return Kind(" or ".join(filter(None, [", ".join(names[:-1]), names[-1]])), read)


TEXT = Kind("text", _text)
SECRET = Kind("text", _text, write=_mask, secret=True)
BOOLEAN = Kind("true or false", _boolean, write=lambda value: str(value).lower())
COUNT = Kind("a whole number of at least 1", _count)
LIMIT = Kind(
    "a whole number of at least 1, or unlimited",
    _limit,
    write=lambda value: "unlimited" if value is None else str(value),
)
IMAGE = Kind("an image such as nginx:1.25 or ghcr.io/org/app@sha256:...", _matching(_IMAGE))
PLATFORM = Kind("OS/ARCHITECTURE such as linux/amd64", _matching(_PLATFORM))
DURATION = Kind("a duration such as 90s, 5m, 12h or 7d", _duration, write=write_duration)
WHOLE_DURATION = Kind("a duration of whole seconds such as 90s, 5m, 12h or 7d", _whole_duration, write=write_duration)
PERIOD = Kind("a duration of whole seconds such as 90s, 5m, 12h or 7d, or 0", _period, write=write_duration)
LISTEN = Kind("HOST:PORT such as 127.0.0.1:5000, [::1]:5000 or :5000 for every interface", _address)
OPTIONAL_LISTEN = Kind(
    f"empty, or {LISTEN.form}",
    lambda value: _address(value) if value else None,
    write=lambda address: "" if address is None else str(address),
)
HOST = Kind("a host name or an address, without a port", _host)
NETWORK = Kind("an address or a network such as 10.0.0.0/8", ipaddress.ip_network)
ORIGIN = Kind("empty, or http(s)://HOST or http(s)://HOST:PORT with nothing after it", _origin)
DATABASE = Kind("empty, or postgresql://USER:PASSWORD@HOST/NAME", _database, write=mask_password, secret=True)
REDIS = Kind("empty, or redis://[:PASSWORD@]HOST[:PORT][/NUMBER]", _redis, write=mask_password, secret=True)
ROOT_SECRET = Kind(
    f"empty, or at least {_SHORTEST_SECRET} bytes that nobody can guess", _root_secret, write=_mask, secret=True
)
PATH = Kind("a path", _path)
OPTIONAL_PATH = Kind("empty, or a path", _optional_path, write=lambda path: "" if path is None else str(path))
