"""Names of repositories and tags (distribution-spec, "Pulling manifests")."""

import re

NAME_MAX = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class InvalidName(ValueError):
    """Not the name of a repository; the message says why and what would be right."""


class InvalidTag(ValueError):
    """Not a tag; the message says why."""


def check_name(name: str) -> str:
    """The name itself, when it follows the grammar and has at most 255 characters; InvalidName otherwise."""
    if len(name) > NAME_MAX:
        raise InvalidName(f"a repository name has at most {NAME_MAX} characters, this one has {len(name)}")
    if _NAME.fullmatch(name):
        return name
    lowered = name.lower()
    if lowered != name and _NAME.fullmatch(lowered):
        raise InvalidName(f"a repository name must be lowercase: use {lowered!r}")
    raise InvalidName(
        "a repository name is made of lower-case letters and digits, with single '.', '_' or '__', or '-' between them,"
        f" and '/' between components; {name[:100]!r} is not"
    )


def check_tag(tag: str) -> str:
    """The tag itself, when it follows the grammar; InvalidTag otherwise."""
    if _TAG.fullmatch(tag):
        return tag
    raise InvalidTag(
        "a tag has 1 to 128 letters, digits, '_', '.' and '-', and does not start with '.' or '-';"
        f" {tag[:150]!r} is not"
    )
