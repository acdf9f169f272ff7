"""Who changes something: what the data plane is told of whoever asks, and `changes` rows remember."""

from dataclasses import dataclass

from entrepot.access.actor import Actor, Basis
from entrepot.access.decision import Action, Decision


@dataclass(frozen=True, slots=True)
class Caller:
    """Who changes something, from where, and why they may. Without accounts it is nobody, from an address.

    `basis` is what the decision rested on; a transaction that finds it otherwise decides again, by `actor` and
    `action`.
    """

    account_id: int | None = None
    address: str = ""
    credential_id: int | None = None
    reason: str | None = None
    basis: Basis | None = None
    actor: Actor | None = None
    action: Action | None = None


def caller_of(actor: Actor, address: str, action: Action | None = None, decision: Decision | None = None) -> Caller:
    """An actor at an address, with what was decided."""
    return Caller(
        account_id=actor.account_id,
        address=address,
        credential_id=actor.credential_id,
        reason=None if decision is None else decision.reason,
        basis=None if decision is None else decision.basis,
        actor=actor,
        action=action,
    )
