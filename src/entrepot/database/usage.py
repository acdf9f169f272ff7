"""Usage in rows: what the job counts, and what reports and limits ask."""

from collections.abc import Sequence
from functools import lru_cache

from entrepot.database.engine import Engine, Transaction
from entrepot.hub.tally import HOUR, Tally
from entrepot.hub.usage import REPOSITORIES_MAX, Cursor, Puller, UsageQuery, UsageRow

_SILENT = 24 * HOUR  # microseconds: a node that has said nothing for a day is gone, and holds no report back

_POSITION = "SELECT position FROM usage_segments WHERE id = :segment"
_ADVANCE = (
    "INSERT INTO usage_segments (id, position, counted_at)"
    " SELECT CAST(:segment AS text), CAST(:end AS bigint), now_us()"
    " WHERE COALESCE((SELECT position FROM usage_segments WHERE id = :segment), 0) = CAST(:position AS bigint)"
    " ON CONFLICT (id) DO UPDATE SET position = excluded.position, counted_at = excluded.counted_at"
    " WHERE usage_segments.position = CAST(:position AS bigint)"
)
_ADD_HOUR = (
    "INSERT INTO usage_hours (hour, repository_id, digest, tag, kind, account_id, credential_id, address, agent,"
    " subject, requests, bytes, first_at, last_at) VALUES (:hour, :repository_id, :digest, :tag, :kind, :account_id,"
    " :credential_id, :address, :agent, :subject, :requests, :bytes, :first_at, :last_at)"
    " ON CONFLICT (hour, repository_id, digest, tag, kind, account_id, credential_id, address, agent)"
    " DO UPDATE SET requests = usage_hours.requests + excluded.requests, bytes = usage_hours.bytes + excluded.bytes,"
    " first_at = CASE WHEN excluded.first_at < usage_hours.first_at THEN excluded.first_at"
    " ELSE usage_hours.first_at END, last_at = CASE WHEN excluded.last_at > usage_hours.last_at"
    " THEN excluded.last_at ELSE usage_hours.last_at END"
)
_ADD_REPOSITORY = (
    "INSERT INTO usage_repositories (repository_id, pull_count, last_pulled_at) VALUES (:repository, :pulls, :last)"
    " ON CONFLICT (repository_id) DO UPDATE SET pull_count = usage_repositories.pull_count + excluded.pull_count,"
    " last_pulled_at = CASE WHEN excluded.last_pulled_at > usage_repositories.last_pulled_at"
    " THEN excluded.last_pulled_at ELSE usage_repositories.last_pulled_at END"
)
_ADD_MANIFEST = (
    "INSERT INTO usage_manifests (repository_id, digest, last_pulled_at) VALUES (:repository, :digest, :last)"
    " ON CONFLICT (repository_id, digest) DO UPDATE SET last_pulled_at = excluded.last_pulled_at"
    " WHERE excluded.last_pulled_at > usage_manifests.last_pulled_at"
)
_FORGET = "DELETE FROM usage_segments WHERE id = :segment"
_APPEAR = "INSERT INTO usage_nodes (id, complete_until) VALUES (:node, now_us()) ON CONFLICT (id) DO NOTHING"
_LEAVE = "DELETE FROM usage_nodes WHERE id = :node"
_NODES = "SELECT id FROM usage_nodes ORDER BY id"
_ASK = "UPDATE usage_nodes SET asked = asked + 1 WHERE id = :node RETURNING asked"
_ASKED = "SELECT asked, answered FROM usage_nodes WHERE id = :node"
_ANSWERED = "SELECT id, answered FROM usage_nodes ORDER BY id"
_COMPLETE = (
    "INSERT INTO usage_nodes (id, complete_until) VALUES (:node, :until)"
    " ON CONFLICT (id) DO UPDATE SET complete_until = excluded.complete_until, answered = :asked"
)
_COMPLETE_UNTIL = (
    "SELECT MIN(complete_until) FROM usage_nodes WHERE complete_until > now_us() - CAST(:silent AS bigint)"
)
_PRUNE_HOURS = (
    "DELETE FROM usage_hours WHERE id IN"
    " (SELECT id FROM usage_hours WHERE hour < now_us() - CAST(:age AS bigint) ORDER BY hour LIMIT :limit)"
)
_GONE_MANIFESTS = (
    "SELECT u.repository_id, u.digest FROM usage_manifests u WHERE u.last_pulled_at < now_us() - CAST(:age AS bigint)"
    " AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = u.repository_id AND m.digest = u.digest)"
    " LIMIT :limit"
)
_PRUNE_MANIFEST = "DELETE FROM usage_manifests WHERE repository_id = :repository AND digest = :digest"
_PRUNE_SEGMENTS = "DELETE FROM usage_segments WHERE counted_at < now_us() - CAST(:age AS bigint)"

_COLUMNS = {
    "hour": "u.hour",
    "day": f"u.hour / {24 * HOUR} * {24 * HOUR}",
    "repository": "u.repository_id",
    "digest": "u.digest",
    "tag": "u.tag",
    "account": "u.account_id",
    "address": "u.address",
    "agent": "u.agent",
}
_SLOTS = ", ".join(f":r{number}" for number in range(REPOSITORIES_MAX))
_CAST = {"hour": "bigint", "day": "bigint", "repository": "bigint", "account": "bigint"}
_OF_ACCOUNT = (
    "u.account_id IN (SELECT id FROM accounts WHERE id = CAST(:account AS bigint)"
    " OR owner_id = CAST(:account AS bigint))"
)
_OF_SUBJECT = "u.account_id = 0 AND u.subject = :subject"
_PULLERS_OF_ACCOUNT, _PULLERS_OF_SUBJECT = (
    "SELECT g.account_id, COALESCE(a.name, ''), g.credential_id, COALESCE(c.label, ''), g.address, g.pulls,"  # noqa: S608
    " g.last_at FROM (SELECT u.account_id, u.credential_id, u.address, CAST(SUM(u.requests) AS bigint) AS pulls,"
    f" MAX(u.last_at) AS last_at FROM usage_hours u WHERE u.kind = 'image' AND {who}"
    f" AND u.hour >= (now_us() - CAST(:window AS bigint)) / {HOUR} * {HOUR}"
    " GROUP BY u.account_id, u.credential_id, u.address) g"
    " LEFT JOIN accounts a ON a.id = g.account_id LEFT JOIN credentials c ON c.id = g.credential_id"
    " ORDER BY g.pulls DESC, g.account_id, g.credential_id, g.address LIMIT :limit"
    for who in (_OF_ACCOUNT, _OF_SUBJECT)
)


class DatabaseUsage:
    """The ports TallyRows and UsageRows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def position(self, segment: str) -> int:
        """See the port."""
        rows = await self._engine.read(_POSITION, segment=segment)
        return int(rows[0][0]) if rows else 0

    async def count(self, segment: str, position: int, end: int, tally: Tally) -> bool:
        """See the port."""

        async def count(transaction: Transaction) -> bool:
            if not await transaction.run(_ADVANCE, segment=segment, position=position, end=end):
                return False
            await _add(transaction, tally)
            return True

        return await self._engine.write(count, durable=True)

    async def forget(self, segments: Sequence[str]) -> None:
        """See the port."""

        async def forget(transaction: Transaction) -> None:
            for segment in segments:
                await transaction.run(_FORGET, segment=segment)

        await self._engine.write(forget, durable=False)

    async def appear(self, node: str) -> None:
        """See the port."""

        async def appear(transaction: Transaction) -> None:
            await transaction.run(_APPEAR, node=node)

        await self._engine.write(appear, durable=True)

    async def leave(self, node: str) -> bool:
        """See the port."""

        async def leave(transaction: Transaction) -> bool:
            return await transaction.run(_LEAVE, node=node) == 1

        return await self._engine.write(leave, durable=True)

    async def ask(self, node: str) -> dict[str, int]:
        """See the port."""

        async def ask(transaction: Transaction) -> dict[str, int]:
            await transaction.run(_APPEAR, node=node)
            asked = {}
            for (each,) in await transaction.all(_NODES):  # in this order by all, so that none waits in a circle
                row = await transaction.one(_ASK, node=each)
                if row is not None:
                    asked[each] = row[0]
            return asked

        return await self._engine.write(ask, durable=False)

    async def asked(self, node: str) -> tuple[int, int]:
        """See the port."""
        rows = await self._engine.read(_ASKED, node=node)
        return (rows[0][0], rows[0][1]) if rows else (0, 0)

    async def silent(self, asked: dict[str, int]) -> list[str]:
        """See the port."""
        rows = await self._engine.read(_ANSWERED)
        return [node for node, answered in rows if answered < asked.get(node, 0)]

    async def complete(self, node: str, until: int, asked: int) -> None:
        """See the port."""

        async def complete(transaction: Transaction) -> None:
            await transaction.run(_COMPLETE, node=node, until=until, asked=asked)

        await self._engine.write(complete, durable=False)

    async def prune(self, age: int, limit: int) -> int:
        """See the port."""

        # Beside the transaction: it may have to look at every manifest that is there and was not pulled for long.
        gone = await self._engine.scan(_GONE_MANIFESTS, age=age, limit=limit)

        async def prune(transaction: Transaction) -> int:
            count = await transaction.run(_PRUNE_HOURS, age=age, limit=limit)
            for repository, digest in gone:
                count += await transaction.run(_PRUNE_MANIFEST, repository=repository, digest=digest)
            await transaction.run(_PRUNE_SEGMENTS, age=age)
            return count

        return await self._engine.write(prune, durable=False)

    async def usage(self, query: UsageQuery, after: Cursor | None, limit: int) -> Sequence[UsageRow]:
        """See the port."""
        statement = _report(
            query.group,
            query.repository_ids is not None,
            query.namespace_id is not None,
            query.account_id is not None,
            query.address is not None,
            after is not None,
        )
        values: dict[str, object] = {"since": query.since, "until": query.until, "limit": limit}
        if query.repository_ids is not None:
            wanted = [*query.repository_ids] + [-1] * (REPOSITORIES_MAX - len(query.repository_ids))
            values |= {f"r{number}": identity for number, identity in enumerate(wanted)}
        if query.namespace_id is not None:
            values["namespace"] = query.namespace_id
        if query.account_id is not None:
            values["account"] = query.account_id
        if query.address is not None:
            values["address"] = query.address
        if after is not None:
            values |= {f"after_{word}": value for word, value in zip(query.group, after, strict=True)}
        return [UsageRow(*row) for row in await self._engine.scan(statement, **values)]

    async def pullers(self, account_id: int | None, subject: str | None, window: int, limit: int) -> Sequence[Puller]:
        """See the port."""
        statement = _PULLERS_OF_SUBJECT if account_id is None else _PULLERS_OF_ACCOUNT
        who: dict[str, object] = {"subject": subject} if account_id is None else {"account": account_id}
        rows = await self._engine.scan(statement, window=window * 1_000_000, limit=limit, **who)
        return [Puller(*row) for row in rows]

    async def complete_until(self) -> int:
        """See the port."""
        rows = await self._engine.read(_COMPLETE_UNTIL, silent=_SILENT)
        return int(rows[0][0] or 0)


async def _add(transaction: Transaction, tally: Tally) -> None:
    """Add a tally, rows in an order that all nodes keep, so that they wait for each other and never in a circle."""
    for key in sorted(tally.hours):
        subject = tally.subjects[key.address]
        await transaction.run(_ADD_HOUR, **key._asdict(), **tally.hours[key]._asdict(), subject=subject)
    for repository, (pulls, last) in sorted(tally.repositories.items()):
        await transaction.run(_ADD_REPOSITORY, repository=repository, pulls=pulls, last=last)
    for (repository, digest), last in sorted(tally.manifests.items()):
        await transaction.run(_ADD_MANIFEST, repository=repository, digest=digest, last=last)


@lru_cache(maxsize=512)
def _report(
    group: tuple[str, ...], repositories: bool, namespace: bool, account: bool, address: bool, after: bool
) -> str:
    """The statement of a report, put together from the constants of this module and nothing else."""
    columns = ", ".join(f"{_COLUMNS[word]} AS {_alias(word)}" for word in group)
    where = "u.hour >= :since AND u.hour < :until"
    if repositories:
        where += f" AND u.repository_id IN ({_SLOTS})"
    if namespace:
        where += " AND u.repository_id IN (SELECT id FROM repositories WHERE namespace_id = :namespace)"
    if account:
        where += " AND u.account_id = :account"
    if address:
        where += " AND (u.address = :address OR u.subject = :address)"
    inner = (
        f"SELECT {columns}, CAST(SUM(CASE WHEN u.kind = 'image' THEN u.requests ELSE 0 END) AS bigint) AS pulls,"  # noqa: S608
        " CAST(SUM(u.requests) AS bigint) AS requests, CAST(SUM(u.bytes) AS bigint) AS bytes,"
        " MIN(u.first_at) AS first_at, MAX(u.last_at) AS last_at"
        f" FROM usage_hours u WHERE {where} GROUP BY {', '.join(_COLUMNS[word] for word in group)}"
    )
    keys = ", ".join(f"g.{_alias(word)}" for word in group)
    shown = {_alias(word): f"g.{_alias(word)}" for word in group}
    if "repository" in group:
        shown["repository_name"] = "COALESCE(r.deleted_name, r.name)"
    if "account" in group:
        shown["account_name"] = "a.name"
    wanted = ("period", "repository", "repository_name", "digest", "tag", "account", "account_name", "address", "agent")
    selected = ", ".join(shown.get(word, "NULL") for word in wanted)
    joins = " LEFT JOIN repositories r ON r.id = g.repository" if "repository" in group else ""
    joins += " LEFT JOIN accounts a ON a.id = g.account" if "account" in group else ""
    values = ", ".join(f"CAST(:after_{word} AS {_CAST.get(word, 'text')})" for word in group)
    return (
        f"SELECT {selected}, g.pulls, g.requests, g.bytes, g.first_at, g.last_at FROM ({inner}) g{joins}"  # noqa: S608
        + (f" WHERE ({keys}) > ({values})" if after else "")
        + f" ORDER BY {keys} LIMIT :limit"
    )


def _alias(word: str) -> str:
    return "period" if word in ("hour", "day") else word
