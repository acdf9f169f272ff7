"""What tags have named, and when: read from `changes`, which every move writes."""

from entrepot.database.engine import Engine
from entrepot.database.manifests import STORED
from entrepot.registry.history import End, Move, Past
from entrepot.registry.ports import StoredManifest

_MOVES = (
    "SELECT c.id, c.at, c.kind, c.old, c.new, a.name, c.address FROM changes c JOIN repositories r"
    " ON r.id = c.repository_id LEFT JOIN accounts a ON a.id = c.account_id WHERE r.name = :repository"
    " AND c.tag = :tag AND c.id < CAST(:before AS bigint) ORDER BY c.id DESC LIMIT :limit"
)
# One statement, as a look-up by tag is one: the last move up to then, and the manifest while its row is there.
_AT = (
    f"SELECT r.id, r.rights_version, c.new, {STORED}"  # noqa: S608 - constants
    " FROM repositories r LEFT JOIN accounts n ON n.id = r.namespace_id"
    " LEFT JOIN changes c ON c.id = (SELECT h.id FROM changes h WHERE h.repository_id = r.id AND h.tag = :tag"
    " AND h.at <= CAST(:at AS bigint) ORDER BY h.at DESC LIMIT 1)"
    " LEFT JOIN manifests m ON m.repository_id = r.id AND m.digest = c.new WHERE r.name = :repository"
)
_DIGEST_AT = (
    f"SELECT r.id, r.rights_version, {STORED}"  # noqa: S608
    " FROM repositories r LEFT JOIN accounts n ON n.id = r.namespace_id"
    " LEFT JOIN manifests m ON m.repository_id = r.id AND m.digest = :digest"
    " AND (m.deleted_at IS NULL OR m.deleted_at > CAST(:at AS bigint)) WHERE r.name = :repository"
)
_WENT = (
    "SELECT at, kind, reason FROM changes WHERE repository_id = :repository AND kind IN ('manifest.delete',"
    " 'manifest.purge') AND old = :digest AND tag IS NULL ORDER BY id DESC LIMIT 1"
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
        identity, rights_version, digest, *manifest = rows[0]
        if digest is None:
            return Past(identity, rights_version, None, None, None)
        if manifest[0] is not None:
            return Past(identity, rights_version, digest, StoredManifest(*manifest), None)
        return Past(identity, rights_version, digest, None, await self._end(identity, digest))

    async def past_manifest(self, repository: str, digest: str, at: int) -> Past | None:
        """See the port."""
        rows = await self._engine.read(_DIGEST_AT, repository=repository, digest=digest, at=at)
        if not rows:
            return None
        identity, rights_version, *manifest = rows[0]
        if manifest[0] is not None:
            return Past(identity, rights_version, digest, StoredManifest(*manifest), None)
        end = await self._end(identity, digest)
        return Past(identity, rights_version, None if end is None or end.at <= at else digest, None, end)

    async def _end(self, repository: int, digest: str) -> End | None:
        went = await self._engine.read(_WENT, repository=repository, digest=digest)
        return End(*went[0]) if went else None
