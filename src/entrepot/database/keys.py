"""Which versions of the signing key are in use. The keys themselves are derived, and stored nowhere."""

from entrepot.access.caller import Caller
from entrepot.database.changes import record
from entrepot.database.engine import Engine, Transaction

# A new version is published before it signs, so that whoever keeps the published keys for minutes knows it in time.
_IN_USE = "SELECT version FROM signing_keys WHERE created_at + :overlap <= now_us() ORDER BY version"
_ALL = "SELECT version FROM signing_keys ORDER BY version"
_ADD = (
    "INSERT INTO signing_keys (version, created_at) SELECT COALESCE(MAX(version), 1) + 1, now_us() FROM signing_keys"
    " RETURNING version"
)
_OVERLAP = 600 * 1_000_000  # microseconds: twice what the published keys may be cached


class DatabaseSigningKeys:
    """Versions of the signing key; without a row there is version 1."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def versions(self) -> tuple[list[int], int]:
        """The versions that are accepted and published, and the one that signs."""
        every = [1, *(row[0] for row in await self._engine.read(_ALL))]
        signing = [1, *(row[0] for row in await self._engine.read(_IN_USE, overlap=_OVERLAP))]
        return every, signing[-1]

    async def rotate(self, caller: Caller) -> int:
        """Add a version, which signs in ten minutes; returns its number."""

        async def add(transaction: Transaction) -> int:
            row = await transaction.one(_ADD)
            assert row is not None
            await record(transaction, caller, "key.rotate", new=str(row[0]))
            return int(row[0])

        return await self._engine.write(add, durable=True)
