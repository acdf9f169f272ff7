"""A database of version 0002 with people, credentials and grants walks up to this version, and rights are as before."""

from entrepot.access.actor import Actor
from entrepot.access.decision import Action
from entrepot.access.rights import Rights
from entrepot.database.engine import Engine, Transaction
from entrepot.database.logins import DatabaseLogins
from entrepot.database.rights import DatabaseRights
from tests.support.old_database import OldDatabase

FILL = (
    "INSERT INTO accounts (id, kind, name, email, email_key, administrator, created_at)"
    " VALUES (7, 'person', 'olga', 'O@x.org', 'o@x.org', 1, 1000), (8, 'person', 'paul', NULL, NULL, 0, 1001),"
    " (9, 'organization', 'acme', NULL, NULL, 0, 1002)",
    "INSERT INTO accounts (id, kind, name, owner_id, created_at) VALUES (10, 'robot', 'acme+ci', 9, 1003)",
    "INSERT INTO identities (account_id, provider, subject, secret, changed_at) VALUES (7, 'password', 'olga', 'h', 5)",
    "INSERT INTO credentials (id, account_id, kind, lookup, hash, scopes, created_at, created_by)"
    " VALUES (3, 10, 'robot', 'entb_x', 'hash', '{\"role\": \"write\"}', 1004, 7)",
    "INSERT INTO credential_uses (credential_id, used_at, address, agent) VALUES (3, 1005, '192.0.2.1', 'docker')",
    "INSERT INTO members (organization_id, account_id, role, created_at) VALUES (9, 7, 'owner', 1006)",
    "INSERT INTO teams (id, organization_id, name, created_at) VALUES (4, 9, 'builders', 1007)",
    "INSERT INTO team_members (team_id, account_id) VALUES (4, 8)",
    "INSERT INTO repositories (id, name, created_at, namespace_id, visibility)"
    " VALUES (5, 'acme/app', 1008, 9, 'private')",
    "INSERT INTO grants (team_id, repository_id, role, created_at) VALUES (4, 5, 'write', 1009)",
    "INSERT INTO grants (account_id, namespace_id, role, created_at) VALUES (10, 9, 'read', 1010)",
    "INSERT INTO former_names (name, repository_id, until) VALUES ('acme/old', 5, 9000000000000000)",
    "INSERT INTO stars (repository_id, account_id, created_at) VALUES (5, 8, 1011)",
    "INSERT INTO retired_names (name_key) VALUES ('key')",
    "INSERT INTO known_addresses (account_id, address, seen_at) VALUES (7, '192.0.2.1', 1012)",
    "INSERT INTO throttles (key, since, failures) VALUES ('address:192.0.2.1', 1013, 3)",
    "INSERT INTO signing_keys (version, created_at) VALUES (2, 1014)",
    "INSERT INTO logins (at, minute, account_id, name_key, address, outcome, reason, count)"
    " VALUES (1015, 0, 7, '', '192.0.2.1', 'login', 'password', 2)",
    "INSERT INTO invitations (lookup, hash, organization_id, created_at, created_by, expires_at)"
    " VALUES ('enti_x', 'hash', 9, 1016, 7, 9000000000000000)",
    "INSERT INTO changes (at, address, kind, account_id, namespace_id, repository_id, subject)"
    " VALUES (1017, '192.0.2.1', 'repository.create', 7, 9, 5, 'acme/app')",
)


async def fill(engine: Engine) -> None:
    """Something in every table, with the columns of version 0002."""

    async def work(transaction: Transaction) -> None:
        for statement in FILL:
            assert await transaction.run(statement)

    await engine.write(work, durable=True)


async def rights_are_as_before(engine: Engine) -> None:
    """Who may do what, and who is known by which secret."""
    rights, logins = Rights(DatabaseRights(engine)), DatabaseLogins(engine)
    olga = await logins.identity("olga")
    assert olga is not None
    assert (olga.account_id, olga.administrator, olga.secret) == (7, True, "h")
    robot = await logins.credential("entb_x")
    assert robot is not None
    assert (robot.name, robot.owner_id, robot.ended) == ("acme+ci", 9, False)
    for account, action, allowed in ((8, Action.PUSH, True), (8, Action.DELETE, False), (10, Action.PULL, True)):
        decision = await rights.decide(Actor(account, "x", "person"), action, "acme/app")
        assert decision.allowed == allowed
    assert not (await rights.decide(Actor(), Action.PULL, "acme/app")).visible
    assert (await rights.facts(Actor(), "acme/old")).former


async def test_a_filled_database_of_version_0002_walks_up(old_database: OldDatabase) -> None:
    await old_database.migrate("0002")
    await old_database.use(fill)
    await old_database.migrate("head")
    await old_database.use(rights_are_as_before)
