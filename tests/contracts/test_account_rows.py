"""Accounts: names that are never given again, e-mail that is never disclosed, and always an administrator."""

import asyncio
from dataclasses import replace

import pytest

from entrepot.access.actor import Actor
from entrepot.access.caller import Caller, caller_of
from entrepot.access.credentials import Secrets
from entrepot.access.errors import LoginRefused
from entrepot.database.accounts import DatabaseAccounts
from entrepot.database.audit import DatabaseAudit
from entrepot.database.engine import Engine
from entrepot.database.logins import DatabaseLogins
from entrepot.database.organizations import DatabaseOrganizations
from entrepot.database.refresh import DatabaseRefreshTokens
from entrepot.database.tokens import DatabaseTokens
from entrepot.hub.accounts import Account, AccountRows, Changes, NewAccount
from entrepot.hub.audit import AuditQuery
from entrepot.hub.errors import Forbidden, NotThere, Taken
from tests.support.hub_rows import HERE, Hub, hub_over
from tests.support.rows import Database

CONSOLE = Caller(address="192.0.2.1")
SECRETS = Secrets(b"k" * 32)
FULL = '{"role": "owner"}'
DAY = 86_400_000_000  # microseconds


def new(name: str, email: str | None = None, *, administrator: bool = False) -> NewAccount:
    return NewAccount(name, f"key of {name}", name.title(), email, f"hash of {name}", administrator)


@pytest.fixture
def accounts(database: Database) -> AccountRows:
    return DatabaseAccounts(database.connect().engine)


async def test_what_was_made_is_found_by_name_and_id(accounts: AccountRows) -> None:
    made = await accounts.add(new("alice", "Alice@Example.com"), CONSOLE)
    assert made == Account(made.id, "alice", "Alice", "Alice@Example.com", False, "unlimited", made.created_at, False)
    assert await accounts.account("alice") == await accounts.account_by_id(made.id) == made
    assert await accounts.account("Alice") is None


async def test_of_two_who_want_a_name_at_once_one_has_it(database: Database) -> None:
    workers = [DatabaseAccounts(database.connect().engine) for _ in range(3)]
    made = await asyncio.gather(*(worker.add(new("alice"), CONSOLE) for worker in workers), return_exceptions=True)
    assert sum(isinstance(each, Account) for each in made) == 1
    assert sum(isinstance(each, Taken) for each in made) == 2


async def test_a_taken_address_gets_the_answer_of_a_new_one_and_stays_the_firsts(
    accounts: AccountRows, database: Database
) -> None:
    first = await accounts.add(new("alice", "a@example.com"), CONSOLE)
    second = await accounts.add(new("mallory", "A@EXAMPLE.COM"), CONSOLE)
    assert second.email == "A@EXAMPLE.COM"
    keys = await database.connect().engine.read("SELECT id, email_key FROM accounts WHERE email_key IS NOT NULL")
    assert keys == [(first.id, "a@example.com")]
    await accounts.change(first.id, Changes(email="new@example.com"), CONSOLE)
    await accounts.change(second.id, Changes(email="a@example.com"), CONSOLE)
    keys = await database.connect().engine.read("SELECT email_key FROM accounts WHERE id = :id", id=second.id)
    assert keys == [("a@example.com",)]


async def test_a_deleted_accounts_name_is_never_given_again(accounts: AccountRows) -> None:
    made = await accounts.add(new("alice"), CONSOLE)
    await accounts.remove(made.id, "key of alice", CONSOLE)
    assert await accounts.account("alice") is None
    assert await accounts.account_by_id(made.id) is None
    with pytest.raises(Taken):
        await accounts.add(new("alice"), CONSOLE)
    with pytest.raises(NotThere):
        await accounts.change(made.id, Changes(full_name="x"), CONSOLE)


async def test_a_deleted_account_leaves_neither_name_nor_address_in_the_audit(
    accounts: AccountRows, database: Database
) -> None:
    engine = database.connect().engine
    made = await accounts.add(new("alice", "a@example.com"), CONSOLE)
    own = replace(CONSOLE, account_id=made.id)
    await accounts.change(made.id, Changes(full_name="Alice"), own)
    await accounts.add(new("malice"), CONSOLE)  # whose name has hers in it
    await _a_life(hub_over(engine), replace(await _logged_in(database, "alice"), name="alice"))
    logins = DatabaseLogins(engine)
    here = caller_of(await _logged_in(database, "alice"), "192.0.2.7")
    secret = SECRETS.make("personal")
    token = await DatabaseTokens(engine).add_credential(made.id, "personal", "alice's", secret, FULL, None, here)
    now = token.created_at
    note = (now, made.id, "", "192.0.2.7", "login", "password", 1)
    await logins.write_notes([(token.id, now, "192.0.2.7", "")], [note])
    await accounts.remove(made.id, "key of alice", own)
    await logins.write_notes([(token.id, now + 1, "192.0.2.7", "")], [note])  # noted before, written down now

    for table in ("changes", "logins", "credentials", "credential_uses", "repositories"):
        rows = await engine.read(f"SELECT * FROM {table}")
        told = [str(value) for row in rows for value in row]
        assert not [each for each in told if "alice" in each.replace("malice", "")]
        assert "192.0.2.7" not in told
    rows = await engine.read("SELECT address FROM changes WHERE account_id = :id", id=made.id)
    assert {row[0] for row in rows} == {""}
    found = await DatabaseAudit(engine).entries(AuditQuery(), None, 100)
    gone = f"deleted#{made.id}"
    assert {each.subject for each in found if each.kind.startswith(("member.", "grant."))} >= {
        gone,
        f"person {gone} on acme",
        f"person {gone} on acme/app",
        f"person malice on {gone}",
        f"person malice on {gone}/app",
    }
    assert (f"{gone}/app", f"{gone}/renamed") in {(each.old, each.new) for each in found}
    assert await engine.read("SELECT name, email, full_name FROM accounts WHERE id = :id", id=made.id) == [
        (f"~{made.id}", None, "")
    ]


async def test_a_new_password_is_another_moment_and_ends_what_the_old_one_obtained(
    accounts: AccountRows, database: Database
) -> None:
    engine = database.connect().engine
    logins, made = DatabaseLogins(engine), await accounts.add(new("alice"), CONSOLE)
    credential = (
        "INSERT INTO credentials (account_id, kind, lookup, hash, scopes, created_at)"
        " VALUES (:account, :kind, :lookup, 'hash', '{\"role\": \"owner\"}', now_us())"
    )
    for kind in ("session", "refresh", "personal"):
        await database.connect().execute(credential, account=made.id, kind=kind, lookup=kind)
    before = await logins.identity("alice")
    assert before is not None
    await accounts.set_password(made.id, "another hash", CONSOLE, reset=False)
    after = await logins.identity("alice")
    assert after is not None
    assert after.secret == "another hash"
    assert after.changed_at > before.changed_at
    ended = {kind: (await logins.credential(kind)).ended for kind in ("session", "refresh", "personal")}  # type: ignore[union-attr]
    assert ended == {"session": True, "refresh": True, "personal": False}
    await accounts.set_password(made.id, "reset", CONSOLE, reset=True)
    personal = await logins.credential("personal")
    assert personal is not None
    assert personal.ended


async def _a_life(hub: Hub, alice: Actor) -> None:
    """What somebody does, and what is done with them, that names them or what was theirs."""
    olga = await hub.person("olga")
    await hub.organizations.create(olga, "acme", "", HERE)
    await hub.repository(olga, "acme/app")
    await hub.organizations.set_member(olga, "acme", "alice", "member", HERE)
    await hub.teams.create(olga, "acme", "crew", "", HERE)
    await hub.teams.add_member(olga, "acme", "crew", "alice", HERE)
    await hub.grants.set_on_repository(olga, "acme/app", "person", "alice", "write", HERE)
    await hub.grants.set_on_namespace(olga, "acme", "person", "alice", "read", HERE)
    await hub.repository(alice, "alice/app")
    await hub.grants.set_on_repository(alice, "alice/app", "person", "malice", "read", HERE)
    await hub.grants.set_on_namespace(alice, "alice", "person", "malice", "read", HERE)
    await hub.repositories.rename(alice, "alice/app", "alice/renamed", HERE)
    await hub.repositories.delete(alice, "alice/renamed", HERE)


async def _logged_in(database: Database, name: str) -> Actor:
    """Somebody who has just proved their password."""
    identity = await DatabaseLogins(database.connect().engine).identity(name)
    assert identity is not None
    return Actor(identity.account_id, name, "person", credential_kind="password", password_at=identity.changed_at)


async def test_nothing_is_handed_out_for_a_password_that_has_just_been_changed(
    accounts: AccountRows, database: Database
) -> None:
    made = await accounts.add(new("alice"), CONSOLE)
    engine = database.connect().engine
    before = caller_of(await _logged_in(database, "alice"), "192.0.2.1")
    await accounts.set_password(made.id, "another hash", before, reset=False)
    with pytest.raises(LoginRefused):
        await _refresh(engine, made.id, before)
    for kind in ("personal", "session"):
        with pytest.raises(LoginRefused):
            await DatabaseTokens(engine).add_credential(made.id, kind, "", SECRETS.make(kind), FULL, None, before)
    with pytest.raises(LoginRefused):
        await accounts.set_password(made.id, "a third hash", before, reset=False)
    assert await engine.read("SELECT id FROM credentials") == []
    now = caller_of(await _logged_in(database, "alice"), "192.0.2.1")
    await _refresh(engine, made.id, now)
    await accounts.set_disabled(made.id, True, CONSOLE)
    with pytest.raises(LoginRefused):
        await _refresh(engine, made.id, now)


async def test_a_login_and_a_change_of_the_password_at_once_leave_nothing_of_the_old_one(
    accounts: AccountRows, database: Database
) -> None:
    made = await accounts.add(new("alice"), CONSOLE)
    engines = [database.connect().engine for _ in range(3)]
    for turn in range(10):
        before = caller_of(await _logged_in(database, "alice"), "192.0.2.1")
        await asyncio.gather(
            *(_refresh(engine, made.id, before) for engine in engines),
            accounts.set_password(made.id, f"hash {turn}", CONSOLE, reset=turn % 2 == 0),
            *(_refresh(engine, made.id, before) for engine in engines),
            return_exceptions=True,
        )
        assert await engines[0].read("SELECT id FROM credentials WHERE revoked_at IS NULL") == []


async def test_of_a_disabled_account_every_client_is_logged_out_and_its_tokens_hold_again_when_it_is_enabled(
    accounts: AccountRows, database: Database
) -> None:
    made = await accounts.add(new("alice"), CONSOLE)
    engine = database.connect().engine
    actor = await _logged_in(database, "alice")
    here = caller_of(actor, "192.0.2.1")
    token = await DatabaseTokens(engine).add_credential(
        made.id, "personal", "", SECRETS.make("personal"), FULL, None, here
    )
    by_token = replace(actor, credential_kind="personal", credential_id=token.id, password_at=0)
    lookups = [await _refresh(engine, made.id, caller) for caller in (here, caller_of(by_token, "192.0.2.1"))]
    for flag in (True, False):
        await accounts.set_disabled(made.id, flag, CONSOLE)
    logins = DatabaseLogins(engine)
    for lookup in lookups:
        found = await logins.credential(lookup)
        assert found is not None
        assert found.ended
    kept = await logins.credential_by_id(token.id)
    assert kept is not None
    assert not kept.ended


async def test_a_refresh_token_that_nobody_has_used_for_90_days_ends(accounts: AccountRows, database: Database) -> None:
    made = await accounts.add(new("alice"), CONSOLE)
    engine = database.connect().engine
    rows, logins = DatabaseRefreshTokens(engine), DatabaseLogins(engine)
    here = caller_of(await _logged_in(database, "alice"), "192.0.2.1")
    lookups = {client: await _refresh(engine, made.id, here, client) for client in ("never", "then", "lately", "new")}
    found = {client: await logins.credential(lookup) for client, lookup in lookups.items()}
    now = (await engine.read("SELECT MAX(created_at) FROM credentials"))[0][0]
    old = "UPDATE credentials SET created_at = created_at - :age WHERE lookup <> :new"
    await database.connect().execute(old, age=91 * DAY, new=lookups["new"])
    uses = {client: each.id for client, each in found.items() if each is not None}
    notes = [(uses["then"], now - 91 * DAY, "192.0.2.1", ""), (uses["lately"], now - 89 * DAY, "192.0.2.1", "")]
    await logins.write_notes(notes, [])
    assert await rows.end_unused(90 * DAY) == 2
    ended = {client: (await logins.credential(lookup)).ended for client, lookup in lookups.items()}  # type: ignore[union-attr]
    assert ended == {"never": True, "then": True, "lately": False, "new": False}
    assert await _refresh(engine, made.id, here, "never") != lookups["never"]


async def _refresh(engine: Engine, account_id: int, caller: Caller, client: str = "docker") -> str:
    """The lookup of a refresh token that was asked for."""
    made = SECRETS.make("refresh")
    parent = caller.credential_id
    rows = DatabaseRefreshTokens(engine)
    return await rows.refresh_lookup(account_id, parent, client, FULL, (made.lookup, made.hash), caller)


async def test_the_last_administrator_stays_one_also_when_two_go_at_once(database: Database) -> None:
    one, other = (DatabaseAccounts(database.connect().engine) for _ in range(2))
    first = await one.add(new("alice", administrator=True), CONSOLE)
    for refused in (
        one.set_administrator(first.id, False, CONSOLE),
        one.set_disabled(first.id, True, CONSOLE),
        one.remove(first.id, "key", CONSOLE),
    ):
        with pytest.raises(Forbidden):
            await refused
    second = await one.add(new("bob", administrator=True), CONSOLE)
    went = await asyncio.gather(
        one.set_administrator(first.id, False, CONSOLE),
        other.set_disabled(second.id, True, CONSOLE),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in went) == ["Forbidden", "NoneType"]


async def test_who_is_disabled_is_known_as_such(accounts: AccountRows, database: Database) -> None:
    made = await accounts.add(new("alice"), CONSOLE)
    logins = DatabaseLogins(database.connect().engine)
    for flag in (True, False):
        await accounts.set_disabled(made.id, flag, CONSOLE)
        identity = await logins.identity("alice")
        assert identity is not None
        assert identity.disabled is flag


async def test_who_owns_something_is_not_deleted(accounts: AccountRows, database: Database) -> None:
    hub = hub_over(database.connect().engine)
    owner = await hub.person("olga")
    assert owner.account_id is not None
    await hub.repository(owner, "olga/app")
    with pytest.raises(Taken, match="olga/app"):
        await accounts.remove(owner.account_id, "key of olga", CONSOLE)
    await hub.repositories.delete(owner, "olga/app", "192.0.2.1")
    await DatabaseOrganizations(hub.engine).add_organization("acme", "key of acme", "", owner.account_id, CONSOLE)
    with pytest.raises(Taken, match="acme"):
        await accounts.remove(owner.account_id, "key of olga", CONSOLE)


async def test_accounts_are_listed_page_by_page(accounts: AccountRows) -> None:
    for name in ("carl", "alice", "bob"):
        await accounts.add(new(name), CONSOLE)
    assert [each.name for each in await accounts.accounts("", 2)] == ["alice", "bob"]
    assert [each.name for each in await accounts.accounts("bob", 2)] == ["carl"]
