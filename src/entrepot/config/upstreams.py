"""The setting `upstreams`: other registries that are read through this one, by alias."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot.access.names import RESERVED
from entrepot.config import kinds
from entrepot.config.kinds import Kind
from entrepot.proxy.upstream import (
    ALIAS,
    ALWAYS,
    PINNED,
    TOKEN_HOSTS,
    URLS,
    Freshness,
    Upstream,
    canonical_alias,
)

_SIZE = re.compile(r"([0-9]{1,12})\s*(|[kmgt]i?b?|b)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True, slots=True)
class ConfiguredUpstream:
    """One upstream: what it is, and how it is reached."""

    upstream: Upstream
    username: str = ""
    password: str = ""
    password_file: Path | None = None
    token_hosts: frozenset[str] = frozenset()
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def __repr__(self) -> str:
        return f"ConfiguredUpstream({self.upstream.alias})"


def _freshness(value: Any) -> Freshness:
    if not isinstance(value, str):
        raise ValueError("fresh is `always`, `pinned` or a duration, or a group of these by patterns of tags")
    return {"always": ALWAYS, "pinned": PINNED}.get(value) or Freshness(kinds.DURATION.read(value))


def _fresh(value: Any) -> tuple[tuple[str, Freshness], ...]:
    if isinstance(value, dict):
        return tuple((str(pattern), _freshness(each)) for pattern, each in value.items())
    return (("*", _freshness(value)),)


def _patterns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("allow and deny are lists of patterns, such as library/*")
    return tuple(value)


def _bytes(value: Any) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        raise ValueError("size is a number of bytes such as 500MB, 20GB or 20GiB")
    unit = match[2].lower()
    factor = 1024 ** "bkmgt".index(unit[0]) if "i" in unit else _UNITS[unit[:1]]
    return int(match[1]) * factor


def _url(value: Any) -> str:
    url = kinds.ORIGIN.read(str(value))
    if not url:
        raise ValueError("url is http(s)://HOST or http(s)://HOST:PORT")
    return url


def _read_by(value: Any) -> bool:
    if value not in ("everyone", "accounts"):
        raise ValueError("read is `everyone` or `accounts`")
    return bool(value == "everyone")


_OF_UPSTREAM: Mapping[str, Callable[[Any], Any]] = {
    "url": _url,
    "fresh": _fresh,
    "allow": _patterns,
    "deny": _patterns,
    "stale_if_denied": lambda value: 0.0 if value == "0" else kinds.DURATION.read(str(value)),
    "delay": lambda value: kinds.DURATION.read(str(value)),
    "size": _bytes,
    "read": _read_by,
}
_OF_CONNECTION: Mapping[str, Callable[[Any], Any]] = {
    "username": lambda value: kinds.TEXT.read(str(value)),
    "password": lambda value: kinds.TEXT.read(str(value)),
    "password_file": lambda value: kinds.PATH.read(str(value)),
    "token_hosts": lambda value: frozenset(kinds.HOST.read(host) for host in _patterns(value)),
    "ca": lambda value: kinds.PATH.read(str(value)),
    "certificate": lambda value: kinds.PATH.read(str(value)),
    "key": lambda value: kinds.PATH.read(str(value)),
    "insecure": lambda value: kinds.BOOLEAN.read(str(value)),
}


def read_upstreams(text: str) -> tuple[ConfiguredUpstream, ...]:
    """The upstreams of a JSON object by alias; ValueError says what is wrong with which."""
    if not text:
        return ()
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("not a group")
    found = tuple(_upstream(str(alias), keys) for alias, keys in document.items())
    aliases = [each.upstream.alias for each in found]
    for alias in aliases:
        if aliases.count(alias) > 1:
            raise ValueError(f"{alias} stands twice")
    return found


def _upstream(alias: str, keys: Any) -> ConfiguredUpstream:
    name = canonical_alias(alias)
    if not ALIAS.fullmatch(name) or name in RESERVED:
        raise ValueError(f"{alias!r} cannot be an alias: take a host, with a dot in it, in lower case")
    if not isinstance(keys, dict):
        keys = {} if keys in (None, "", "null") else {"": keys}
    of_upstream: dict[str, Any] = {"url": URLS.get(name, f"https://{alias}")}
    of_connection: dict[str, Any] = {}
    for key, value in keys.items():
        try:
            if key in _OF_UPSTREAM:
                of_upstream[key] = _OF_UPSTREAM[key](value)
            elif key in _OF_CONNECTION:
                of_connection[key] = _OF_CONNECTION[key](value)
            else:
                raise ValueError(f"there is no such key; there are {', '.join([*_OF_UPSTREAM, *_OF_CONNECTION])}")
        except ValueError as error:
            raise ValueError(f"{alias}: {key}: {error}") from None
    host = (urlsplit(of_upstream["url"]).hostname or "").lower()
    of_connection["token_hosts"] = of_connection.get("token_hosts", frozenset()) | TOKEN_HOSTS.get(host, frozenset())
    secret = of_connection.get("password") or of_connection.get("password_file")
    if bool(of_connection.get("username")) != bool(secret):
        raise ValueError(f"{alias}: username needs password or password_file, and they need username")
    everyone = of_upstream.pop("read", not secret)  # what needs a password is not for everybody, unless one says so
    return ConfiguredUpstream(Upstream(name, everyone=everyone, **of_upstream), **of_connection)


def _write(upstreams: tuple[ConfiguredUpstream, ...]) -> str:
    return ", ".join(f"{each.upstream.alias} ({each.upstream.url})" for each in upstreams)


SIZE: Kind[int | None] = Kind(
    "a number of bytes such as 500MB, 20GB or 20GiB",
    lambda text: _bytes(text) if text else None,
    write=lambda size: "" if size is None else f"{size}B",
)
UPSTREAMS: Kind[tuple[ConfiguredUpstream, ...]] = Kind(
    "a group of registries by alias, such as {docker.io: {}, ghcr.io: {fresh: 5m}}",
    read_upstreams,
    write=_write,
    secret=True,
)
