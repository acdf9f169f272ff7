"""What the one decision needs to know, in one look-up; and which repositories somebody may pull."""

from collections.abc import Sequence
from dataclasses import replace

from entrepot.access.actor import Actor, Role
from entrepot.access.decision import Facts
from entrepot.access.names import namespace_of
from entrepot.database.engine import Engine, Row, Transaction
from entrepot.proxy.upstream import NO_UPSTREAMS, People, Upstreams

_RANK = "MAX(CASE g.role WHEN 'admin' THEN 3 WHEN 'write' THEN 2 WHEN 'read' THEN 1 ELSE 0 END)"
_MINE = "SELECT {rank} FROM grants g WHERE g.account_id = :account AND g.{place}"
_TEAMS = (
    "SELECT {rank} FROM team_members t JOIN grants g ON g.team_id = t.team_id WHERE t.account_id = :account"
    " AND g.{place}"
)


def _granted(place: str) -> str:
    return f"({_MINE}), ({_TEAMS})".format(rank=_RANK, place=place)


_NAMESPACE = (
    "n.id, n.kind, n.creation, n.default_visibility, n.member_role,"
    " (SELECT m.role FROM members m WHERE m.organization_id = n.id AND m.account_id = :account)"
)
_OF_NAME = "n.name = :namespace AND n.kind <> 'robot' AND n.deleted_at IS NULL"
_FACTS = (
    f"SELECT {_NAMESPACE}, {_granted('namespace_id = n.id')},"  # noqa: S608 - constants
    f" r.id, r.rights_version, r.visibility, r.archived_at, {_granted('repository_id = r.id')},"
    " (SELECT f.until FROM former_names f WHERE f.name = :name AND f.until > now_us())"
    f" FROM accounts n LEFT JOIN repositories r ON r.name = :name WHERE {_OF_NAME}"
)
_NAMESPACE_FACTS = f"SELECT {_NAMESPACE}, {_granted('namespace_id = n.id')} FROM accounts n WHERE {_OF_NAME}"  # noqa: S608

_HOLDS = (
    " AND (EXISTS (SELECT 1 FROM links l WHERE l.repository_id = r.id)"
    " OR EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id))"
)
_LIVE = "r.deleted_at IS NULL AND r.name > :after"
_ORDER = " ORDER BY r.name LIMIT :limit"
_NAMES = "SELECT r.name, r.id, r.namespace_id FROM repositories r WHERE "
_OPEN_TO_ALL = f"{_NAMES}r.visibility = :visibility AND {_LIVE}"
_IN_NAMESPACE = f"{_NAMES}r.namespace_id = :namespace AND {_LIVE}"
_OPEN_IN_NAMESPACE = f"{_NAMES}r.namespace_id = :namespace AND r.visibility = :visibility AND {_LIVE}"
_ALL = f"{_NAMES}{_LIVE}"
READABLE_NAMESPACES = (
    "SELECT m.organization_id FROM members m JOIN accounts n ON n.id = m.organization_id WHERE m.account_id = :account"
    " AND (m.role = 'owner' OR n.member_role <> 'none')"
    " UNION SELECT g.namespace_id FROM grants g WHERE g.account_id = :account AND g.namespace_id IS NOT NULL"
    " UNION SELECT g.namespace_id FROM team_members t JOIN grants g ON g.team_id = t.team_id"
    " WHERE t.account_id = :account AND g.namespace_id IS NOT NULL"
)
"""Selects the organizations in which `:account` may read everything, by id."""
READABLE_REPOSITORIES = (
    "SELECT g.repository_id FROM grants g WHERE g.account_id = :account"
    " UNION SELECT g.repository_id FROM team_members t JOIN grants g ON g.team_id = t.team_id"
    " WHERE t.account_id = :account"
)
"""Selects the repositories that `:account` was granted, by id, and NULL for its grants on namespaces."""
_GRANTED = f"{_NAMES}r.id IN ({READABLE_REPOSITORIES}) AND {_LIVE}"
_IN_THAT = " AND r.namespace_id = :namespace"
_NAMESPACE_ID = "SELECT n.id FROM accounts n WHERE n.name = :name AND n.kind <> 'robot' AND n.deleted_at IS NULL"
_READ_THROUGH = "SELECT id, rights_version FROM repositories WHERE name = :name"
_OPEN_FACTS = (
    "SELECT id, rights_version, visibility, archived_at, namespace_id FROM repositories WHERE name = :name"
    " AND deleted_at IS NULL"
)
_IS_OR_IN = (
    "SELECT 1 FROM accounts n WHERE n.name = :name AND n.deleted_at IS NULL AND (n.id = :account OR EXISTS"
    " (SELECT 1 FROM members m WHERE m.organization_id = n.id AND m.account_id = :account))"
)
_IN_TEAM = (
    "SELECT 1 FROM accounts n JOIN teams t ON t.organization_id = n.id JOIN team_members m ON m.team_id = t.id"
    " WHERE n.name = :name AND n.deleted_at IS NULL AND t.name = :team AND m.account_id = :account"
)
_NOBODY = 0  # no account has this id


async def facts_in(transaction: Transaction, account_id: int | None, name: str) -> Facts:
    """The facts as they are inside this transaction."""
    row = await transaction.one(_FACTS, account=account_id or _NOBODY, name=name, namespace=namespace_of(name))
    return Facts(name) if row is None else _facts(name, row)


class DatabaseRights:
    """The port RightsRows."""

    def __init__(self, engine: Engine, upstreams: Upstreams = NO_UPSTREAMS) -> None:
        self._engine = engine
        self._upstreams = upstreams

    async def facts(self, account_id: int | None, name: str) -> Facts:
        """See the port."""
        place = self._upstreams.place(name)
        if place is not None:
            found = await self._engine.read(_READ_THROUGH, name=name)
            identity, version = found[0] if found else (None, 0)
            readers = await self._people(place.credential.read, account_id)
            fetch = await self._people(place.upstream.fetch, account_id)
            return Facts(name, repository_id=identity, rights_version=version, upstream=readers, fetch=fetch)
        rows = await self._engine.read(_FACTS, account=account_id or _NOBODY, name=name, namespace=namespace_of(name))
        return _facts(name, rows[0]) if rows else Facts(name)

    async def _people(self, people: People, account_id: int | None) -> str:
        """The people of an upstream's setting in the words of Facts; of named ones it matters who is asked about."""
        if people.word != "named":
            return people.word
        for name in people.names:
            organization, slash, team = name.partition("/")
            statement = _IN_TEAM if slash else _IS_OR_IN
            more = {"team": team} if slash else {}
            if await self._engine.read(statement, account=account_id or _NOBODY, name=organization, **more):
                return "accounts"
        return "others"

    async def namespace_facts(self, account_id: int | None, namespace: str) -> Facts:
        """See the port."""
        rows = await self._engine.read(_NAMESPACE_FACTS, account=account_id or _NOBODY, namespace=namespace)
        return _namespace_facts(namespace, rows[0]) if rows else Facts(namespace)

    async def visible(
        self, actor: Actor, after: str, limit: int, *, only: str = "", holding: bool = False
    ) -> Sequence[str]:
        """See the port. Each set of them is read in order by an index and the first names of all are merged."""
        found: set[str] = set()
        while True:
            sets = await self._sets(actor, after, limit, only, _HOLDS if holding else "")
            if sets is None:
                return []
            names = {row[0] for rows, bound in sets for row in rows if not bound or actor.scopes.covers(row[1], row[2])}
            full = [rows[-1][0] for rows, _ in sets if len(rows) == limit]
            end = min(full, default=None)  # beyond it some set may have more
            found |= {name for name in names if end is None or name <= end}
            if end is None or len(found) >= limit:
                return sorted(found)[:limit]
            after = end

    async def _sets(
        self, actor: Actor, after: str, limit: int, only: str, holds: str
    ) -> list[tuple[list[Row], bool]] | None:
        """Sets of (name, id, namespace id), each with whether the credential's scopes bind it."""
        where: dict[str, object] = {"after": after, "limit": limit}
        end = holds + _ORDER
        namespace: int | None = None
        if only:
            rows = await self._engine.read(_NAMESPACE_ID, name=only)
            if not rows:
                return None
            namespace = rows[0][0]
        sets = [(await self._open(namespace, "public", where, end), False)]
        if actor.anonymous or actor.scopes.role < Role.READ:
            return sets
        if actor.administrator:
            statement = _ALL if namespace is None else _IN_NAMESPACE
            more = {} if namespace is None else {"namespace": namespace}
            return [*sets, (await self._engine.read(statement + end, **where, **more), True)]
        sets.append((await self._open(namespace, "internal", where, end), True))
        rows = await self._engine.read(READABLE_NAMESPACES, account=actor.account_id)
        mine = {row[0] for row in rows} | {actor.account_id}
        for each in mine if namespace is None else mine & {namespace}:
            sets.append((await self._engine.read(_IN_NAMESPACE + end, **where, namespace=each), True))
        if namespace is not None:
            where["namespace"] = namespace
            end = _IN_THAT + end
        sets.append((await self._engine.read(_GRANTED + end, **where, account=actor.account_id), True))
        return sets

    async def _open(self, namespace: int | None, visibility: str, where: dict[str, object], end: str) -> list[Row]:
        if namespace is None:
            return await self._engine.read(_OPEN_TO_ALL + end, **where, visibility=visibility)
        return await self._engine.read(_OPEN_IN_NAMESPACE + end, **where, namespace=namespace, visibility=visibility)


class DatabaseOpenRights:
    """The port RightsRows without accounts: only what is there matters."""

    def __init__(self, engine: Engine, upstreams: Upstreams = NO_UPSTREAMS) -> None:
        self._engine = engine
        self._upstreams = upstreams

    async def facts(self, account_id: int | None, name: str) -> Facts:
        """See the port."""
        rows = await self._engine.read(_OPEN_FACTS, name=name)
        place = self._upstreams.place(name)
        facts = Facts(name, upstream="" if place is None else "everyone")
        if not rows:
            return facts
        identity, version, visibility, archived, namespace = rows[0]
        return replace(
            facts,
            repository_id=identity,
            rights_version=version,
            visibility=visibility,
            archived=archived is not None,
            namespace_id=namespace,
        )

    async def namespace_facts(self, account_id: int | None, namespace: str) -> Facts:
        """See the port: there are none."""
        return Facts(namespace)

    async def visible(
        self, actor: Actor, after: str, limit: int, *, only: str = "", holding: bool = False
    ) -> Sequence[str]:
        """See the port."""
        rows = await self._engine.read(_ALL + (_HOLDS if holding else "") + _ORDER, after=after, limit=limit)
        return [row[0] for row in rows]


def _namespace_facts(name: str, row: Row) -> Facts:
    namespace, kind, creation, default_visibility, member_role, membership, mine, teams = row[:8]
    granted = Role(max(mine or 0, teams or 0))
    return Facts(
        name=name,
        namespace_id=namespace,
        namespace_kind=kind,
        creation=creation,
        default_visibility=default_visibility,
        member_role=member_role,
        membership=membership or "",
        granted=granted,
        granted_all=granted,
    )


def _facts(name: str, row: Row) -> Facts:
    base = _namespace_facts(name, row)
    repository, version, visibility, archived, mine, teams, former = row[8:]
    if repository is None:
        return replace(base, former=former is not None)
    return replace(
        base,
        repository_id=repository,
        rights_version=version,
        visibility=visibility,
        archived=archived is not None,
        granted=Role(max(base.granted, mine or 0, teams or 0)),
        former=former is not None,
    )
