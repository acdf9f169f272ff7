"""The one decision: may this actor do this to this repository, and why.

Every door asks it, and no other place knows what a role means. It is a pure function of the actor and of the facts
that one look-up gives.
"""

from dataclasses import dataclass
from enum import Enum

from entrepot.access.actor import Actor, Basis, Role

_NO_ACCOUNTS = "there are no accounts: everybody may"


class Action(Enum):
    """What can be done to a repository, and the role that it needs."""

    PULL = Role.READ  # pull, list, history
    PUSH = Role.WRITE  # push, move a tag, mount here, cancel an upload
    DELETE = Role.ADMIN  # delete, purge, rules, visibility, grants: Docker's `delete`
    OWN = Role.OWNER  # creation policy, robots, teams, transfer

    @property
    def word(self) -> str:
        """As token scopes write it (distribution: docs/spec/auth/scope)."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database knows of a name and an account: one look-up, one moment.

    `namespace_id` is None when no such account or organization exists, `repository_id` when no such repository does.
    `membership` is "owner", "member" or "" in the namespace; `granted` is the highest grant, to the account or to one
    of its teams, on the repository or its namespace, `granted_all` the highest on the namespace alone. `former`: the
    name was given up less than 30 days ago.
    """

    name: str
    namespace_id: int | None = None
    namespace_kind: str = ""
    creation: str = "members"
    default_visibility: str = "public"
    member_role: str = "none"
    membership: str = ""
    repository_id: int | None = None
    rights_version: int = 0
    visibility: str = ""
    archived: bool = False
    granted: Role = Role.NONE
    granted_all: Role = Role.NONE
    former: bool = False
    upstream: str = ""
    """Of a repository that is read through: `everyone` may read it, `accounts`, or `others` than this account."""

    fetch: str = ""
    """In the same words, who may have fetched from there what is not stored."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, with a reason in words for the audit.

    `visible`: the actor may know that the repository exists. A refusal of what is not visible is told as absence.
    `basis` is what it rested on, for the transaction that follows; None when it is no.
    """

    allowed: bool
    visible: bool
    reason: str
    basis: Basis | None = None
    policy: bool = False
    """Refused whatever the rights: told as 403 with the reason, as no other token would help."""

    fetches: bool = True
    """Whether what an upstream has and is not stored here may be fetched for the actor."""


def decide(actor: Actor, action: Action, facts: Facts) -> Decision:
    """Whether `actor` may do `action` to the repository of these facts; PUSH to one that is not there creates it."""
    if actor.everybody and not (facts.upstream and action in (Action.PUSH, Action.OWN)):
        return Decision(True, True, _NO_ACCOUNTS, _basis(facts))
    if facts.upstream:
        return _of_upstream(actor, action, facts)
    if facts.namespace_id is None:
        return Decision(False, False, "there is no such account or organization")
    if facts.repository_id is None:
        return _creation(actor, action, facts)
    role, reason = role_in(actor, facts)
    visible = role >= Role.READ
    if facts.archived and action is not Action.PULL and action is not Action.OWN:
        return Decision(False, visible, "the repository is archived: it can only be read", policy=role >= action.value)
    if role < action.value:
        return Decision(False, visible, f"{action.word} needs the role {action.value.word}; {reason}")
    return Decision(True, True, reason, _basis(facts))


def _of_upstream(actor: Actor, action: Action, facts: Facts) -> Decision:
    """What is read through is read by whom the configuration says, and evicted by administrators."""
    basis = Basis(None, facts.repository_id, facts.rights_version, "private")
    readable = _is_among(actor, facts.upstream)
    if action is Action.PULL:
        fetches = _is_among(actor, facts.fetch)
        reason = f"upstream, for {facts.upstream}"
        return Decision(readable, readable, reason, basis if readable else None, fetches=fetches)
    if action is Action.DELETE and actor.administrator and actor.scopes.everywhere and actor.scopes.role >= Role.ADMIN:
        return Decision(True, True, "administrator", basis)
    return Decision(False, readable, "what another registry holds can only be read")


def _is_among(actor: Actor, people: str) -> bool:
    """Whether an upstream's setting means the actor; administrators are always meant."""
    if people == "everyone":
        return True
    return not actor.anonymous and actor.scopes.everywhere and (people == "accounts" or actor.administrator)


def role_in(actor: Actor, facts: Facts) -> tuple[Role, str]:
    """The role of the actor in the repository (or, when there is none, in its namespace), and where it comes from."""
    if actor.everybody:
        return Role.OWNER, _NO_ACCOUNTS
    role, reason = _account_role(actor, facts)
    if actor.anonymous or (actor.scopes.role >= Role.OWNER and actor.scopes.everywhere):
        return role, reason
    public = Role.READ if facts.visibility == "public" else Role.NONE
    if not actor.scopes.covers(facts.repository_id, facts.namespace_id):
        return public, "public" if public else "the credential is not for this repository"
    if role > actor.scopes.role:
        return max(actor.scopes.role, public), f"{reason}, by a credential for {actor.scopes.role.word}"
    return role, reason


def _account_role(actor: Actor, facts: Facts) -> tuple[Role, str]:
    if not actor.anonymous:
        if facts.namespace_id == actor.account_id:
            return Role.OWNER, "it is the account's own"
        if actor.administrator:
            return Role.OWNER, "administrator"
        if facts.membership == "owner":
            return Role.OWNER, "owner of the organization"
        if facts.granted > Role.NONE:
            base = Role[facts.member_role.upper()] if facts.membership else Role.NONE
            if facts.granted >= base:
                return facts.granted, f"granted {facts.granted.word}"
        if facts.membership and facts.member_role != "none":
            return Role[facts.member_role.upper()], "member of the organization"
    if facts.visibility == "public":
        return Role.READ, "public"
    if facts.visibility == "internal" and not actor.anonymous:
        return Role.READ, "internal, and logged in"
    return Role.NONE, "no grant"


def _creation(actor: Actor, action: Action, facts: Facts) -> Decision:
    """A repository that does not exist is visible to whoever might create it, and then there is nothing to pull or to
    delete: everybody else is told nothing."""
    may, reason = may_create(actor, facts)
    if may and action is Action.OWN:
        return Decision(False, True, "there is no such repository")
    return Decision(may, may, reason, _basis(facts) if may else None)


def may_create(actor: Actor, facts: Facts) -> tuple[bool, str]:
    """Whether the actor may create the repository of this name by a push."""
    if actor.anonymous:
        return False, "nobody is logged in"
    if actor.scopes.role < Role.WRITE or not actor.scopes.covers(None, facts.namespace_id):
        return False, "the credential may not create repositories there"
    owner = (
        facts.namespace_id == actor.account_id
        or facts.membership == "owner"
        or (actor.administrator and facts.namespace_kind == "organization")
    )
    if facts.former and not owner:
        return False, "the name was given up less than 30 days ago and is still its owner's"
    if owner:
        return True, "owner of the namespace"
    if facts.creation != "members":
        return False, "only owners create repositories there"
    if facts.membership:
        return True, "member of the organization"
    if facts.granted_all >= Role.WRITE:
        return True, f"granted {facts.granted_all.word} on the namespace"
    return False, "no grant on the namespace"


def _basis(facts: Facts) -> Basis:
    return Basis(
        namespace_id=facts.namespace_id,
        repository_id=facts.repository_id,
        rights_version=facts.rights_version,
        visibility=facts.visibility or facts.default_visibility,
    )
