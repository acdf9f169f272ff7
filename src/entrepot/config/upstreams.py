"""The setting `upstreams`: other registries that are read through this one, by alias."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrepot.access.names import RESERVED
from entrepot.client.logins import HELPER
from entrepot.config import kinds
from entrepot.config.kinds import Kind
from entrepot.proxy.upstream import (
    ACCOUNTS,
    ALIAS,
    ALWAYS,
    EVERYONE,
    PINNED,
    TOKEN_HOSTS,
    URLS,
    Credential,
    Freshness,
    People,
    Upstream,
    canonical_alias,
)

_SIZE = re.compile(r"([0-9]{1,12})\s*(|[kmgt]i?b?|b)", re.IGNORECASE)
_NAMED = re.compile(r"[a-z0-9][a-z0-9_+-]{0,80}(?:/[a-z0-9][a-z0-9_-]{0,80})?")
_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True, slots=True)
class ConfiguredLogin:
    """Where a login comes from; nothing of it for anybody."""

    username: str = ""
    password: str = ""
    password_file: Path | None = None
    helper: str = ""

    def __repr__(self) -> str:
        return f"ConfiguredLogin({self.name})"

    @property
    def name(self) -> str:
        """What people call it by: no secret."""
        return self.username or self.helper


@dataclass(frozen=True, slots=True)
class ConfiguredUpstream:
    """One upstream: what it is, and how it is reached."""

    upstream: Upstream
    logins: tuple[ConfiguredLogin, ...] = (ConfiguredLogin(),)
    """One for each credential of the upstream."""

    token_hosts: frozenset[str] = frozenset()
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    proxy: str | None = None
    """The proxy to go through; empty for none, None for what the environment says."""

    def __repr__(self) -> str:
        return f"ConfiguredUpstream({self.upstream.alias})"


def _freshness(value: Any) -> Freshness:
    if not isinstance(value, str):
        raise ValueError("fresh is `always`, `pinned` or a duration, or a group of these by patterns of tags")
    first, while_looking, second = value.partition(" stale-while-revalidate ")
    if not while_looking:
        return {"always": ALWAYS, "pinned": PINNED}.get(value) or Freshness(kinds.DURATION.read(value))
    seconds = 0.0 if first == "always" else kinds.DURATION.read(first.rstrip(","))
    return Freshness(seconds, kinds.DURATION.read(second))


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


def _people(value: Any) -> People:
    if value in (EVERYONE.word, ACCOUNTS.word):
        return People(value)
    names = tuple(map(str, value)) if isinstance(value, list) else ()
    if not names or not all(_NAMED.fullmatch(name) for name in names):
        raise ValueError("it is `everyone`, `accounts`, or a list of accounts, organizations and ORGANIZATION/TEAM")
    return People("named", names)


def _helper(value: Any) -> str:
    if not isinstance(value, str) or not HELPER.fullmatch(value):
        raise ValueError("it is what follows docker-credential- in a program's name, such as ecr-login")
    return value


def _proxy(value: Any) -> str:
    if value == "none":
        return ""
    parts = urlsplit(str(value))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise ValueError("it is http(s)://HOST:PORT, or `none`")
    return str(value)


_OF_UPSTREAM: Mapping[str, Callable[[Any], Any]] = {
    "url": _url,
    "fresh": _fresh,
    "allow": _patterns,
    "deny": _patterns,
    "stale_if_denied": lambda value: 0.0 if value == "0" else kinds.DURATION.read(str(value)),
    "delay": lambda value: kinds.DURATION.read(str(value)),
    "size": _bytes,
    "keep": lambda value: kinds.DURATION.read(str(value)),
    "fetch": _people,
}
_OF_LOGIN: Mapping[str, Callable[[Any], Any]] = {
    "username": lambda value: kinds.TEXT.read(str(value)),
    "password": str,  # Google's is a file of several lines
    "password_file": lambda value: kinds.PATH.read(str(value)),
    "helper": _helper,
}
_OF_CREDENTIAL: Mapping[str, Callable[[Any], Any]] = {"repositories": _patterns, "read": _people}
_OF_CONNECTION: Mapping[str, Callable[[Any], Any]] = {
    "token_hosts": lambda value: frozenset(kinds.HOST.read(host) for host in _patterns(value)),
    "ca": lambda value: kinds.PATH.read(str(value)),
    "certificate": lambda value: kinds.PATH.read(str(value)),
    "key": lambda value: kinds.PATH.read(str(value)),
    "insecure": lambda value: kinds.BOOLEAN.read(str(value)),
    "proxy": _proxy,
}

_ALL = [*_OF_UPSTREAM, "read", *_OF_LOGIN, "credentials", *_OF_CONNECTION]


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
    more = keys.get("credentials") or []
    try:
        credentials, logins = _credentials(more, {key: keys[key] for key in keys if key in (*_OF_LOGIN, "read")})
    except ValueError as error:
        raise ValueError(f"{alias}: {error}") from None
    known = {**_OF_UPSTREAM, **_OF_CONNECTION}
    read = _keys(alias, {key: keys[key] for key in keys if key not in (*_OF_LOGIN, "read", "credentials")}, known)
    of_upstream = {key: value for key, value in read.items() if key in _OF_UPSTREAM}
    of_upstream.setdefault("url", URLS.get(name, f"https://{alias}"))
    of_connection = {key: value for key, value in read.items() if key in _OF_CONNECTION}
    host = (urlsplit(of_upstream["url"]).hostname or "").lower()
    of_connection["token_hosts"] = of_connection.get("token_hosts", frozenset()) | TOKEN_HOSTS.get(host, frozenset())
    upstream = Upstream(name, credentials=credentials, **of_upstream)
    return ConfiguredUpstream(upstream, logins, **of_connection)


def _credentials(more: Any, rest: Mapping[str, Any]) -> tuple[tuple[Credential, ...], tuple[ConfiguredLogin, ...]]:
    """Those of `credentials`, in their order, and that of the upstream itself, which is for all other repositories."""
    if not isinstance(more, list) or not all(isinstance(each, dict) for each in more):
        raise ValueError("credentials is a list of groups of keys")
    found = [_credential(each) for each in [*more, rest]]
    for credential, _ in found[:-1]:
        if "*" in credential.repositories:
            raise ValueError(f"credentials: {credential.name}: say by `repositories` which ones it is for")
    names = [credential.name for credential, _ in found]
    for name in names:
        if names.count(name) > 1:  # two budgets for what is one, or one credential more than its limit
            raise ValueError(f"credentials: {name or 'one without a login'} stands twice")
    return tuple(credential for credential, _ in found), tuple(login for _, login in found)


def _credential(keys: Mapping[str, Any]) -> tuple[Credential, ConfiguredLogin]:
    read = _keys("credentials", keys, {**_OF_LOGIN, **_OF_CREDENTIAL})
    login = ConfiguredLogin(**{key: value for key, value in read.items() if key in _OF_LOGIN})
    secret = login.password or login.password_file
    if bool(login.username) != bool(secret):
        raise ValueError("username needs password or password_file, and they need username")
    if login.username and login.helper:
        raise ValueError("a helper gives the user name too")
    # What needs a password is not for everybody, unless one says so.
    people = read.get("read", ACCOUNTS if login.name else EVERYONE)
    return Credential(login.name, read.get("repositories", ("*",)), people), login


def _keys(where: str, keys: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in keys.items():
        try:
            if key not in known:
                raise ValueError(f"there is no such key; there are {', '.join(_ALL)}")
            read[key] = known[key](value)
        except ValueError as error:
            raise ValueError(f"{where}: {key}: {error}") from None
    return read


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
