"""What tags have named, and when: read from `changes`, which every move writes."""

from entrepot.database.engine import Engine
from entrepot.registry.history import Move, Past
from entrepot.registry.ports import StoredManifest

_MOVES = (
    "SELECT c.id, c.at, c.kind, c.old, c.new, a.name, c.address FROM changes c JOIN repositories r"
    " ON r.id = c.repository_id LEFT JOIN accounts a ON a.id = c.account_id WHERE r.name = :repository"
    " AND c.tag = :tag AND c.id < CAST(:before AS bigint) ORDER BY c.id DESC LIMIT :limit"
)
_AT = (
    "SELECT r.id, r.rights_version, (SELECT c.new FROM changes c WHERE c.repository_id = r.id AND c.tag = :tag"
    " AND c.at <= CAST(:at AS bigint) ORDER BY c.at DESC LIMIT 1) FROM repositories r WHERE r.name = :repository"
)
_KEPT = (
    "SELECT m.id, m.digest, m.media_type, m.content, r.id, r.rights_version, m.kind,"
    " CASE WHEN r.pulls_exempt = 1 OR n.pulls_exempt = 1 THEN 1 ELSE 0 END"
    " FROM repositories r LEFT JOIN accounts n ON n.id = r.namespace_id JOIN manifests m ON m.repository_id = r.id"
    " WHERE r.id = :repository AND m.digest = :digest"
)
_WENT = (
    "SELECT at FROM changes WHERE repository_id = :repository AND kind IN ('manifest.delete', 'manifest.purge')"
    " AND old = :digest AND tag IS NULL ORDER BY id DESC LIMIT 1"
)


class DatabaseHistory:
    """The port HistoryRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def moves(self, repository: str, tag: str, before: int, limit: int) -> list[Move]:
        """See the port."""
        rows = await self._engine.read(_MOVES, repository=repository, tag=tag, before=before, limit=limit)
        return [Move(*row) for row in rows]

    async def past(self, repository: str, tag: str, at: int) -> Past | None:
        """See the port."""
        rows = await self._engine.read(_AT, repository=repository, tag=tag, at=at)
        if not rows:
            return None
        identity, rights_version, digest = rows[0]
        if digest is None:
            return Past(identity, rights_version, None, None, None)
        found = await self._engine.read(_KEPT, repository=identity, digest=digest)
        if found:
            return Past(identity, rights_version, digest, StoredManifest(*found[0]), None)
        went = await self._engine.read(_WENT, repository=identity, digest=digest)
        return Past(identity, rights_version, digest, None, went[0][0] if went else None)
