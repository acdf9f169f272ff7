"""The token service: an access token that allows what was asked for, as far as the actor may (protocol.md §3)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from entrepot.access.actor import Actor
from entrepot.access.decision import Action, Decision
from entrepot.access.limits import Limits
from entrepot.access.names import PREVIEW
from entrepot.access.rights import Rights
from entrepot.access.scopes import Scope
from entrepot.access.tokens import AUDIENCE, LIFETIME, Access, Tokens

_ACTIONS = {"pull": Action.PULL, "push": Action.PUSH, "delete": Action.DELETE}
_CATALOG = frozenset({"*", "search"})


@dataclass(frozen=True, slots=True)
class Issued:
    """A token; `scope` is what was granted, in the grammar of the request; `issued_at` is RFC 3339."""

    token: str
    expires_in: int
    issued_at: str
    scope: str


class TokenService:
    """Issues tokens for this registry and for the registries that rely on it."""

    def __init__(
        self,
        rights: Rights,
        tokens: Tokens,
        limits: Limits,
        relying: Collection[str],
        stored_name: Callable[[str], str] = str,
    ) -> None:
        """`relying`: services that get an audience of their own; any other service means this registry, where the
        repository that clients call by a name is stored under its `stored_name`."""
        self._rights = rights
        self._tokens = tokens
        self._limits = limits
        self._relying = frozenset(relying)
        self._stored_name = stored_name

    async def issue(self, actor: Actor, scopes: Sequence[Scope], service: str) -> Issued:
        """A token for this actor: what was asked for and is not allowed is left out, and is no error."""
        repositories: dict[str, Access] = {}
        catalog: list[str] = []
        relied_on = service in self._relying
        for scope in scopes:
            if scope.type == "repository":
                name = scope.name if relied_on else self._stored_name(scope.name)
                access = await self._access(actor, name, scope.actions)
                if access.actions:
                    repositories[name] = access
            elif scope.type == "registry" and scope.name == "catalog" and (actor.administrator or not relied_on):
                catalog += sorted(scope.actions & _CATALOG)
        token, issued = self._tokens.issue(
            actor,
            repositories,
            audience=service if relied_on else AUDIENCE,
            catalog=catalog,
            limit=await self._limits.of(actor),
        )
        granted = [f"repository:{name}:{','.join(sorted(each.actions))}" for name, each in repositories.items()]
        if catalog:
            granted.append(f"registry:catalog:{','.join(catalog)}")
        at = datetime.fromtimestamp(issued, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Issued(token, LIFETIME, at, " ".join(granted))

    async def _access(self, actor: Actor, name: str, asked: frozenset[str]) -> Access:
        wanted = frozenset(_ACTIONS) if "*" in asked else asked & _ACTIONS.keys()
        if name == PREVIEW:
            return Access(frozenset(wanted & {"pull"}), 0, 0)
        decisions = await self._rights.decide_all(actor, [_ACTIONS[each] for each in sorted(wanted)], name)
        allowed = [decision for decision in decisions.values() if decision.allowed]
        if not allowed:
            return Access(frozenset(), 0, 0)
        actions = frozenset(action.word for action, each in decisions.items() if each.allowed)
        return Access(actions, *_stamp(allowed[0]), all(each.fetches for each in allowed))


def _stamp(decision: Decision) -> tuple[int, int]:
    assert decision.basis is not None
    return decision.basis.repository_id or 0, decision.basis.rights_version
