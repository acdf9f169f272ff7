"""A database of version 0004 with words and stars in it walks up to this version, and is searched as before."""

from entrepot.access.actor import ANONYMOUS
from entrepot.database.engine import Engine, Transaction
from tests.support.hub_rows import hub_over
from tests.support.old_database import OldDatabase

FILL = (
    "INSERT INTO accounts (id, kind, name, created_at) VALUES (7, 'person', 'olga', 1000)",
    "INSERT INTO repositories (id, name, created_at, namespace_id, description, stars)"
    " VALUES (9, 'olga/app', 1001, 7, 'a tool', 3)",
    "INSERT INTO search_words (place, word, repository_id) VALUES (0, 'olga', 9), (0, 'app', 9), (0, 'tool', 9)",
)


async def fill(engine: Engine) -> None:
    """A repository, with the columns of version 0004."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            assert await transaction.run(statement)

    await engine.write(work, durable=True)


async def it_is_found(engine: Engine) -> None:
    """What search answers."""
    (hit,) = await hub_over(engine).search.find(ANONYMOUS, "tool", 0, 10)
    assert (hit.name, hit.description, hit.stars) == ("olga/app", "a tool", 3)


async def test_a_filled_database_of_version_0004_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0004")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(it_is_found)
