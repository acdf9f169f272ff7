"""Whose pulls are limited, and by how much."""

from dataclasses import dataclass
from typing import Protocol

from entrepot.access.actor import Actor
from entrepot.access.pulls import PullLimit

UNLIMITED = -1
"""A plan's pulls when nobody counts them."""


class PlanLimits(Protocol):
    """What plans say."""

    async def pulls(self, account_id: int) -> int | None:
        """Pulls a window that the account's plan allows: UNLIMITED, or None when the plan leaves it to the settings."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings `limits.pulls`: pulls a window, None without limit; the window in seconds."""

    anonymous: int | None
    account: int | None
    window: int
    plans: PlanLimits

    def of_address(self) -> PullLimit | None:
        """The limit of an address that nobody has logged in from."""
        return None if self.anonymous is None else PullLimit(self.anonymous, self.window)

    async def of(self, actor: Actor) -> PullLimit | None:
        """The limit of whoever pays for this actor's pulls."""
        if actor.payer_id is None:
            return self.of_address()
        pulls = await self.plans.pulls(actor.payer_id)
        if pulls is None:
            pulls = self.account
        return None if pulls is None or pulls == UNLIMITED else PullLimit(pulls, self.window)
