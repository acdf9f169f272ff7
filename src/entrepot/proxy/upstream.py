"""Upstreams: other registries whose repositories can be read here, each under the alias that it is configured by.

The repository `PATH` of an upstream is `ALIAS/PATH` here, by whichever door one comes; no name is looked up in two
places. Aliases are reserved: nothing is pushed there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

DOCKER_HUB = "docker.io"
_SAME = {"index.docker.io": DOCKER_HUB, "registry-1.docker.io": DOCKER_HUB}

URLS = {DOCKER_HUB: "https://registry-1.docker.io"}
"""Where a registry is, when it is not `https://ALIAS`."""

TOKEN_HOSTS = {
    "registry-1.docker.io": frozenset({"auth.docker.io"}),
    "registry.gitlab.com": frozenset({"gitlab.com"}),
}
"""Hosts that belong to a known registry and may be given its password (protocol.md §4.5)."""

ALIAS = re.compile(r"(?=[^.]*\.)[a-z0-9]+(?:[.-][a-z0-9]+)*(?:_[0-9]{1,5})?")
"""An alias is the first component of a repository's name. It has a dot, which no account's name has. A port is written
behind `_`, as `:` cannot stand there."""


class Freshness(NamedTuple):
    """How long a tag is answered without a look at its upstream, in seconds: 0 looks each time, None never looks; and
    for how many more (`stale`) it is answered as it is while it is looked at (RFC 5861, stale-while-revalidate)."""

    seconds: float | None
    stale: float = 0.0


ALWAYS = Freshness(0.0)
PINNED = Freshness(None)


class People(NamedTuple):
    """Somebody: `everyone`, `accounts` (whoever is logged in), or `named`: accounts by their own names, those of their
    organizations, or `ORGANIZATION/TEAM`."""

    word: str
    names: tuple[str, ...] = ()


EVERYONE = People("everyone")
ACCOUNTS = People("accounts")


@dataclass(frozen=True, slots=True)
class Credential:
    """What an upstream is asked with, by its `name` (empty: as anybody), for the repositories of these patterns; and
    who may read these here. A repository has one, so that no two share what one of them may not see."""

    name: str = ""
    repositories: Sequence[str] = ("*",)
    read: People = EVERYONE


@dataclass(frozen=True, slots=True)
class Upstream:
    """A registry that is read through. Patterns are globs: of paths for `allow` and `deny`, of tags for `fresh`.

    `stale_if_denied`, `delay`: seconds. `size`: bytes that it may hold, None for any number. `keep`: seconds that a
    blob stays which nobody uses, None for ever. Of the `credentials` the first that fits a repository is its; the last
    fits all. `fetch`: who of the readers may have fetched what is not stored here.
    """

    alias: str
    url: str
    fresh: Sequence[tuple[str, Freshness]] = (("*", ALWAYS),)
    allow: Sequence[str] = ("*",)
    deny: Sequence[str] = ()
    stale_if_denied: float = 86400.0
    delay: float = 0.0
    size: int | None = None
    keep: float | None = None
    credentials: Sequence[Credential] = (Credential(),)
    fetch: People = EVERYONE

    @property
    def everyone(self) -> bool:
        """Whether anybody may read all of it."""
        return all(credential.read == EVERYONE for credential in self.credentials)

    def credential(self, path: str) -> int:
        """The number of the credential that is this repository's."""
        for number, credential in enumerate(self.credentials[:-1]):
            if _fits(path, credential.repositories):
                return number
        return len(self.credentials) - 1

    def freshness(self, tag: str) -> Freshness:
        """That of the first pattern that the tag fits; a tag that fits none is looked at each time."""
        return next((fresh for pattern, fresh in self.fresh if fnmatchcase(tag, pattern)), ALWAYS)

    def allows(self, path: str) -> bool:
        """Whether this repository may be read through."""
        return _fits(path, self.allow) and not (self.deny and _fits(path, self.deny))


class Place(NamedTuple):
    """A repository of an upstream: the upstream, and its name there."""

    upstream: Upstream
    path: str

    @property
    def credential(self) -> Credential:
        """What its upstream is asked with for it."""
        return self.upstream.credentials[self.upstream.credential(self.path)]


class Upstreams:
    """All upstreams that are configured, by alias."""

    def __init__(self, upstreams: Sequence[Upstream] = ()) -> None:
        self._by_alias: Mapping[str, Upstream] = {each.alias: each for each in upstreams}

    def __bool__(self) -> bool:
        return bool(self._by_alias)

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._by_alias.values())

    def place(self, name: str) -> Place | None:
        """Where the repository of this name is read from; None for one that is hosted here."""
        if not self._by_alias:
            return None
        alias, _, path = name.partition("/")
        upstream = self._by_alias.get(alias)
        return None if upstream is None else Place(upstream, path)

    def stored_name(self, name: str) -> str:
        """The name by which a repository is stored: Docker Hub has three names, and what is `nginx` to its users is
        `library/nginx` there (protocol.md §4.3)."""
        if not self._by_alias:
            return name
        alias, slash, path = name.partition("/")
        alias = _SAME.get(alias, alias)
        if not slash or alias not in self._by_alias:
            return name
        return f"{alias}/library/{path}" if alias == DOCKER_HUB and path and "/" not in path else f"{alias}/{path}"

    def of_host(self, host: str) -> Upstream | None:
        """The upstream that containerd's `ns` means: its alias, or one of the names of Docker Hub."""
        return self._by_alias.get(canonical_alias(host))


NO_UPSTREAMS = Upstreams()
"""Every repository is hosted."""


def _fits(path: str, patterns: Sequence[str]) -> bool:
    return "*" in patterns or any(fnmatchcase(path, pattern) for pattern in patterns)


def canonical_alias(host: str) -> str:
    """The alias of a host: Docker Hub has three names and one alias; a port's colon cannot stand in a name."""
    lower = host.lower()
    return _SAME.get(lower, lower).replace(":", "_")
