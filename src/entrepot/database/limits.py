"""What plans say of pulls."""

from entrepot.database.engine import Engine

_PULLS = "SELECT p.pulls FROM accounts a JOIN plans p ON p.name = a.plan WHERE a.id = :account"


class DatabasePlanLimits:
    """The port PlanLimits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def pulls(self, account_id: int) -> int | None:
        """See the port."""
        rows = await self._engine.read(_PULLS, account=account_id)
        return rows[0][0] if rows else None
