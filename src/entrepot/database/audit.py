"""The audit's rows: `changes` and `logins` as one list, and what of them is forgotten in time."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from entrepot.access.actor import Actor
from entrepot.database.engine import Engine, Row, Transaction
from entrepot.hub.audit import AuditEntry, AuditQuery, Place

_LARGEST = 2**63 - 1


def _told(account: str, name: str) -> str:
    """An account's name; of one that is no more, its id."""
    return (
        f"CASE WHEN {account} IS NULL THEN NULL WHEN {name}.id IS NULL OR {name}.deleted_at IS NOT NULL"
        f" THEN 'deleted#' || CAST({account} AS text) ELSE {name}.name END"
    )


_CHANGES = (
    f"SELECT c.at, 1, c.id, c.kind, c.account_id, {_told('c.account_id', 'a')}, c.credential_id, k.kind, k.label,"  # noqa: S608
    f" c.address, c.namespace_id, {_told('c.namespace_id', 'n')}, r.namespace_id, COALESCE(r.deleted_name, r.name),"
    " c.tag, c.subject, c.old, c.new, c.reason, 1 FROM changes c LEFT JOIN accounts a ON a.id = c.account_id"
    " LEFT JOIN credentials k ON k.id = c.credential_id LEFT JOIN accounts n ON n.id = c.namespace_id"
    " LEFT JOIN repositories r ON r.id = c.repository_id WHERE "
)
_LOGINS = (
    f"SELECT c.at, 0, c.id, c.outcome, c.account_id, {_told('c.account_id', 'a')}, NULL, NULL, NULL, c.address, NULL,"  # noqa: S608
    " NULL, NULL, NULL, NULL, NULLIF(c.name_key, ''), NULL, NULL, c.reason, c.count"
    " FROM logins c LEFT JOIN accounts a ON a.id = c.account_id WHERE "
)
_KIND = {1: "c.kind", 0: "c.outcome"}
_BOUNDS = {  # of what is seen: in a namespace; and by an account, in its namespace, and about it elsewhere
    "all": "",
    "namespace": " AND c.namespace_id = :home",
    "own": " AND c.account_id = :home",
    "about": (
        " AND ((c.subject = :name AND (c.kind LIKE 'member.%' OR c.kind IN ('team.enter', 'team.leave')))"
        " OR (c.subject >= :granted AND c.subject < :granted_end AND c.kind LIKE 'grant.%'))"
    ),
}
_FILTERS = {
    "kind": " AND substr({kind}, 1, length(CAST(:kind AS text))) = CAST(:kind AS text)",
    "account": " AND c.account_id IN (SELECT id FROM accounts WHERE name = :account)",
    "namespace": " AND c.namespace_id IN (SELECT id FROM accounts WHERE name = :namespace)",
    "repository": (
        " AND c.repository_id IN (SELECT id FROM repositories WHERE name = :repository OR deleted_name = :repository)"
    ),
    "address": " AND c.address = :address",
    "since": " AND c.at >= :since",
    "until": " AND c.at < :until",
    "after": " AND (c.at, c.id) < (CAST(:at AS bigint), CAST(:id AS bigint))",
}
_OF_LOGINS = frozenset({"kind", "account", "address", "since", "until", "after"})
# What the history of tags and the rows of the registry rest on stays, however old it is.
_OLD = (
    "SELECT id, at FROM changes WHERE at >= CAST(:start AS bigint) AND at < CAST(:end AS bigint)"
    " AND kind NOT LIKE 'tag.%' AND kind NOT LIKE 'manifest.%' AND kind NOT LIKE 'blob.%' ORDER BY at LIMIT :limit"
)
_FORGET = "DELETE FROM changes WHERE id = :id"
_OLD_LOGINS = (
    "DELETE FROM logins WHERE id IN (SELECT id FROM logins WHERE at < CAST(:end AS bigint) ORDER BY at LIMIT :limit)"
)


class DatabaseAudit:
    """The port AuditRows, and pruning."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pruned_until = 0

    async def entries(self, query: AuditQuery, after: Place | None, limit: int) -> Sequence[AuditEntry]:
        """See the port. Each list is read in its own order, by its own index, and the newest of all are taken."""
        found: dict[tuple[int, int, int], Row] = {}
        for table, bound, values in _parts(query, after):
            filters = tuple(word for word in _FILTERS if word in values or (word == "after" and "at" in values))
            statement = _statement(table, bound, filters)
            for row in await self._engine.scan(statement, **values, limit=limit):
                found[row[:3]] = row
        return [_entry(found[place]) for place in sorted(found, reverse=True)[:limit]]

    async def prune(self, end: int, limit: int) -> int:
        """Forget up to `limit` logins and changes of the hub from before `end`, in microseconds; returns how many.

        The registry's changes stay. What was looked through before is not looked through again by this process. No
        cache minds: it asks for changes with greater ids than it has seen, and ids are never used again.
        """
        rows = await self._engine.scan(_OLD, start=self._pruned_until, end=end, limit=limit)

        async def forget(transaction: Transaction) -> int:
            count = await transaction.run(_OLD_LOGINS, end=end, limit=limit)
            for identity, _ in rows:
                count += await transaction.run(_FORGET, id=identity)
            return count

        count = await self._engine.write(forget, durable=False)
        self._pruned_until = rows[-1][1] if len(rows) == limit else max(self._pruned_until, end)
        return count


def _parts(query: AuditQuery, after: Place | None) -> Iterator[tuple[int, str, dict[str, object]]]:
    """The lists to read: a table, which bound, and the values of its statement."""
    wanted: dict[str, object] = {
        word: value
        for word in ("kind", "account", "namespace", "repository", "address", "since", "until")
        if (value := getattr(query, word)) is not None
    }
    if query.account is not None and query.account.startswith("deleted#"):
        wanted["account"] = "~" + query.account.removeprefix("deleted#")
    changes, logins = wanted | _place(1, after), wanted | _place(0, after)
    has_logins = _OF_LOGINS.issuperset(wanted) and query.namespace_id is None
    if query.namespace_id is not None:
        yield 1, "namespace", changes | {"home": query.namespace_id}
    elif query.concerning is not None:
        own: dict[str, object] = {"home": query.concerning.account_id}
        yield 1, "own", changes | own
        yield 1, "namespace", changes | own
        yield 1, "about", changes | _about(query.concerning)
        if has_logins:
            yield 0, "own", logins | own
    else:
        yield 1, "all", changes
        if has_logins:
            yield 0, "all", logins


def _about(actor: Actor) -> dict[str, object]:
    """What subjects name the actor: a name, or `person NAME on …`, from which the end differs by the blank."""
    return {"name": actor.name, "granted": f"person {actor.name} on ", "granted_end": f"person {actor.name} on!"}


def _place(table: int, after: Place | None) -> dict[str, object]:
    """What comes after a place in this table: of the same moment only lower ids, all or none."""
    if after is None:
        return {}
    return {"at": after.at, "id": after.id if table == after.table else _LARGEST if table < after.table else 0}


@lru_cache(maxsize=512)
def _statement(table: int, bound: str, filters: tuple[str, ...]) -> str:
    """A statement put together from the constants of this module and nothing else."""
    where = "1 = 1" + _BOUNDS[bound] + "".join(_FILTERS[word].format(kind=_KIND[table]) for word in filters)
    return (_CHANGES if table else _LOGINS) + where + " ORDER BY c.at DESC, c.id DESC LIMIT :limit"


def _entry(row: Row) -> AuditEntry:
    return AuditEntry(Place(*row[:3]), *row[3:])
