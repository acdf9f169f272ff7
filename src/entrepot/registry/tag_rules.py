"""Immutable and protected tags: which rule covers a tag, and what an immutable tag may still become.

A rule is of a repository, of a namespace, or of the installation; all that cover a tag hold. The tags in which clients
without the referrers API keep signatures only ever grow, and may do so under an immutable rule (protocol.md §2.6 39).
"""

import fnmatch
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import re2

from entrepot.oci.digest import Digest, InvalidDigest

KINDS = ("immutable", "protected")
SYNTAXES = ("glob", "re2")
PATTERN_MAX = 200  # characters
_GROWING = {"": "manifests", "sig": "layers", "att": "layers"}
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


class PatternInvalid(ValueError):
    """The pattern cannot be read."""


@dataclass(frozen=True, slots=True)
class TagRule:
    """`pattern` and `exceptions` are of one syntax and cover whole tags. `role` may move and delete what is protected.

    `scope` is what the rule is of: repository, namespace or installation.
    """

    id: int
    scope: str
    kind: str
    syntax: str
    pattern: str
    exceptions: tuple[str, ...] = ()
    role: str = ""

    def covers(self, tag: str) -> bool:
        """Whether this tag is meant."""
        return _matcher(self.syntax, self.pattern)(tag) and not any(
            _matcher(self.syntax, each)(tag) for each in self.exceptions
        )

    @property
    def words(self) -> str:
        """As a refusal names it."""
        besides = f" except {', '.join(self.exceptions)}" if self.exceptions else ""
        return f"rule {self.id} of the {self.scope}: {self.kind} {self.syntax} {self.pattern}{besides}"


def check_pattern(syntax: str, pattern: str) -> None:
    """PatternInvalid, with the reason, when this is none."""
    _matcher(syntax, pattern)


def first_covering(rules: Iterable[TagRule], kind: str, tag: str) -> TagRule | None:
    """The first rule of a kind that covers a tag."""
    return next((rule for rule in rules if rule.kind == kind and rule.covers(tag)), None)


def only_grows(tag: str, old: bytes, new: bytes) -> bool:
    """Whether the tag is one in which clients keep what belongs to a digest, and the new manifest lists all of the old.

    The fallback tag's index keeps its descriptors, cosign's `.sig` and `.att` their layers.
    """
    stem, _, suffix = tag.partition(".")
    member = _GROWING.get(suffix)
    if member is None or tag.endswith("."):
        return False
    try:
        Digest.parse(stem.replace("-", ":", 1))
    except InvalidDigest:
        return False
    before, after = _descriptors(old, member), _descriptors(new, member)
    return before is not None and after is not None and before <= after


@lru_cache(maxsize=1024)
def _matcher(syntax: str, pattern: str) -> Callable[[str], bool]:
    if not pattern or len(pattern) > PATTERN_MAX or not pattern.isprintable():
        raise PatternInvalid(f"a pattern has 1 to {PATTERN_MAX} printable characters")
    if syntax == "glob":
        shell = re.compile(fnmatch.translate(pattern))  # its stars are atomic groups: no input is slow
        return lambda tag: shell.match(tag) is not None
    try:
        expression = re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        text = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise PatternInvalid(f"this is no RE2 expression: {text}") from None
    return lambda tag: expression.fullmatch(tag) is not None


def _descriptors(content: bytes, member: str) -> set[str] | None:
    document = json.loads(content)  # it was accepted as a manifest
    listed = document.get(member)
    if not isinstance(listed, list):
        return None
    return {json.dumps(each, sort_keys=True) for each in listed}
