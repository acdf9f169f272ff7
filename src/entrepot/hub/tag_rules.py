"""Who makes rules of tags: administrators of a repository, owners of a namespace, administrators for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, Invalid, NotThere
from entrepot.hub.owners import owned, permitted
from entrepot.hub.words import one_of
from entrepot.registry.tag_rules import KINDS, SYNTAXES, PatternInvalid, TagRule, check_pattern

ROLES = ("admin", "owner")
_MOST_EXCEPTIONS = 20
_MOST_RULES = 100  # of one place


class Place(NamedTuple):
    """A repository, a namespace, or with neither the installation, by its id."""

    repository: int | None = None
    namespace: int | None = None


@dataclass(frozen=True, slots=True)
class NewTagRule:
    """A rule that is not there yet (registry/tag_rules.py)."""

    kind: str
    syntax: str
    pattern: str
    exceptions: tuple[str, ...]
    role: str


@dataclass(frozen=True, slots=True)
class Where:
    """What a rule is made for, by name: a repository, a namespace, or with neither the installation."""

    repository: str = ""
    namespace: str = ""


class TagRuleRows(Protocol):
    """What this needs of the database."""

    async def tag_rules(self, place: Place, after: int, limit: int) -> Sequence[TagRule]:
        """The rules of exactly this place, by id."""
        ...

    async def add_tag_rule(self, place: Place, new: NewTagRule, caller: Caller) -> TagRule:
        """Add a rule; it holds from now on."""
        ...

    async def remove_tag_rule(self, place: Place, identity: int, caller: Caller) -> bool:
        """Lift a rule; False when this place has none of that id."""
        ...


async def placed(rights: Rights, actor: Actor, where: Where, address: str) -> tuple[Place, Caller]:
    """The place that the actor may make rules for."""
    if where.repository:
        facts, decision = await permitted(rights, actor, Action.DELETE, where.repository, archived_too=True)
        return Place(repository=facts.repository_id), caller_of(actor, address, Action.DELETE, decision)
    if where.namespace:
        facts, caller = await owned(rights, actor, where.namespace, address, organization=False)
        return Place(namespace=facts.namespace_id), caller
    if not actor.administers:
        raise Forbidden("rules for all repositories are for administrators who have logged in with a password")
    return Place(), caller_of(actor, address)


class TagRules:
    """Making and lifting rules."""

    def __init__(self, rows: TagRuleRows, rights: Rights) -> None:
        self._rows = rows
        self._rights = rights

    async def list(self, actor: Actor, where: Where, after: int, limit: int) -> Sequence[TagRule]:
        """A page of the rules of one place."""
        place, _ = await placed(self._rights, actor, where, "")
        return await self._rows.tag_rules(place, after, limit)

    async def add(self, actor: Actor, where: Where, new: NewTagRule, address: str) -> TagRule:
        """Add a rule."""
        place, caller = await placed(self._rights, actor, where, address)
        _check(new)
        if len(await self._rows.tag_rules(place, 0, _MOST_RULES)) == _MOST_RULES:
            raise Invalid(f"there are {_MOST_RULES} rules here already: write fewer, wider ones", "pattern")
        return await self._rows.add_tag_rule(place, new, caller)

    async def lift(self, actor: Actor, where: Where, identity: int, address: str) -> None:
        """Remove a rule."""
        place, caller = await placed(self._rights, actor, where, address)
        if not await self._rows.remove_tag_rule(place, identity, caller):
            raise NotThere(f"there is no rule {identity} here")


def _check(new: NewTagRule) -> None:
    one_of(new.kind, KINDS, "kind")
    one_of(new.syntax, SYNTAXES, "syntax")
    if len(new.exceptions) > _MOST_EXCEPTIONS:
        raise Invalid(f"a rule has at most {_MOST_EXCEPTIONS} exceptions", "except")
    for field, patterns in (("pattern", (new.pattern,)), ("except", new.exceptions)):
        for pattern in patterns:
            try:
                check_pattern(new.syntax, pattern)
            except PatternInvalid as error:
                raise Invalid(str(error), field) from None
    if new.kind == "protected":
        one_of(new.role, ROLES, "role")
    elif new.role:
        raise Invalid("an immutable tag is moved by nobody: only a protected one has a role", "role")
