"""Names of accounts and organizations, which are the first component of repository names."""

import re

LIBRARY = "library"
"""The organization that one-component repository names belong to, as on Docker Hub."""

PREVIEW = "ratelimitpreview/test"
"""A repository that always exists and shows the caller's limit (Docker Hub's documentation, "Usage and limits")."""

_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_SHORTEST, _LONGEST = 2, 40
# What stands, or may one day stand, at the root of the web address, in `/v2/`, or in a host's place.
_RESERVED_WORDS = """
    about account accounts admin administrator api assets auth billing catalog console dashboard docs entrepot
    explore favicon health healthz help host library livez localhost login logout me metrics mirror namespace
    namespaces new none null ops org organization organizations orgs owner plans pricing privacy ratelimitpreview
    readyz register registry repositories repository robots root search session sessions settings setup signin
    signup static status support terms token tokens ui users v1 v2 v3 well-known www
"""
RESERVED = frozenset(_RESERVED_WORDS.split())
"""Names that no account can have; upstreams' aliases are reserved too, but have dots."""


class InvalidAccountName(ValueError):
    """Not a name that an account can have; the message says why and what would be right."""


def check_account_name(name: str) -> str:
    """The name itself, when an account can have it; InvalidAccountName otherwise.

    Lower case only: the name is part of image names, and these are lower case (distribution-spec).
    """
    if not _SHORTEST <= len(name) <= _LONGEST:
        raise InvalidAccountName(f"an account name has {_SHORTEST} to {_LONGEST} characters, this one has {len(name)}")
    if _NAME.fullmatch(name):
        if name in RESERVED:
            raise InvalidAccountName(f"the name {name!r} is reserved: choose another")
        return name
    lowered = name.lower()
    if lowered != name and _NAME.fullmatch(lowered):
        raise InvalidAccountName(f"an account name is lower case, as it becomes part of image names: use {lowered!r}")
    raise InvalidAccountName(
        "an account name is made of lower-case letters and digits, with single '-' or '_' between them and no dot"
    )


def namespace_of(repository: str) -> str:
    """The account or organization that a repository name belongs to."""
    first, slash, _ = repository.partition("/")
    return first if slash else LIBRARY
