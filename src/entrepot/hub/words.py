"""What people may write: one of some words, a text of a length, the name of a team or robot."""

import re
from collections.abc import Sequence

from entrepot.hub.errors import Invalid

_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_NAME_MAX = 40  # characters, as of an account


def one_of(word: str | None, words: Sequence[str], field: str) -> None:
    """Invalid unless the word is one of these, or None."""
    if word is not None and word not in words:
        raise Invalid(f"{field} must be one of {', '.join(words)}; {word[:40]!r} is not", field)


def text_within(text: str | None, most: int, field: str) -> None:
    """Invalid when a text has more than `most` characters, or a NUL, which PostgreSQL cannot store."""
    if text is not None and len(text) > most:
        raise Invalid(f"{field} has at most {most} characters, this one has {len(text)}", field)
    if text is not None and "\0" in text:
        raise Invalid(f"{field} must not contain a NUL character", field)


def check_part_name(name: str, field: str = "name") -> str:
    """The name of a team or robot within its organization, when it can be one; Invalid otherwise."""
    if len(name) <= _NAME_MAX and _NAME.fullmatch(name):
        return name
    raise Invalid(
        f"a name here has 1 to {_NAME_MAX} lower-case letters and digits, with single '-' or '_' between them;"
        f" {name[:60]!r} is not",
        field,
    )
