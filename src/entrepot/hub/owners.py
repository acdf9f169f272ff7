"""Whether somebody may act for a namespace: the one decision, turned into the hub's refusals."""

from dataclasses import replace

from entrepot.access.actor import Actor, Role
from entrepot.access.caller import Caller, caller_of
from entrepot.access.decision import Action, Decision, Facts, decide, role_in
from entrepot.access.rights import Rights
from entrepot.hub.errors import Forbidden, NotThere
from entrepot.hub.words import text_within
from entrepot.oci.reference import NAME_MAX

NO_TOKENS = "log in with a password; tokens and robots cannot touch organizations, members, teams or robots"


async def owned(
    rights: Rights, actor: Actor, name: str, address: str, *, organization: bool = True, by_person: bool = False
) -> tuple[Facts, Caller]:
    """The facts of a namespace that the actor owns, and who then changes it.

    `by_person`: only with a password. NotThere without such a namespace, Forbidden for who does not own it.
    """
    text_within(name, NAME_MAX, "namespace")
    role, facts = await rights.namespace(actor, name)
    if facts.namespace_id is None or (organization and facts.namespace_kind != "organization"):
        kind = "organization" if organization else "account or organization"
        raise NotThere(f"there is no {kind} {name!r}")
    if by_person and not actor.by_password:
        raise Forbidden(f"this needs a person: {NO_TOKENS}")
    if role < Role.OWNER:
        raise Forbidden(f"only owners of {name} may do this; {role_in(actor, facts)[1]}")
    return facts, caller_of(actor, address, Action.OWN, Decision(True, True, role_in(actor, facts)[1]))


async def seen_inside(rights: Rights, actor: Actor, name: str) -> int:
    """The id of an organization whose members and teams the actor may see: members and administrators may."""
    role, facts = await rights.namespace(actor, name)
    if facts.namespace_id is None or facts.namespace_kind != "organization":
        raise NotThere(f"there is no organization {name!r}")
    if role < Role.OWNER and not (facts.membership and actor.scopes.everywhere):
        raise Forbidden(f"only members of {name} may see this")
    return facts.namespace_id


async def permitted(
    rights: Rights, actor: Actor, action: Action, name: str, *, archived_too: bool = False
) -> tuple[Facts, Decision]:
    """The facts of a repository and the decision that allows the action.

    `archived_too`: what is done to the repository's row, not to its content, and so to an archived one as well.
    NotThere, in the same words, for what does not exist and for what the actor may not read.
    """
    facts = await rights.facts(actor, name)
    if facts.repository_id is None:
        raise no_repository(name)
    decision = decide(actor, action, replace(facts, archived=False) if archived_too else facts)
    if not decision.visible:
        raise no_repository(name)
    if not decision.allowed:
        raise Forbidden(f"{name}: {decision.reason}")
    return facts, decision


def no_repository(name: str) -> NotThere:
    """For what does not exist and for what may not be seen."""
    return NotThere(f"there is no repository {name!r}, or none that you may see")
