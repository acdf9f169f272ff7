"""Accounts: names that are never given again, e-mail that is never disclosed, and always an administrator."""

import asyncio
from dataclasses import replace

import pytest

from entrepot.access.caller import Caller
from entrepot.database.accounts import DatabaseAccounts
from entrepot.database.logins import DatabaseLogins
from entrepot.database.organizations import DatabaseOrganizations
from entrepot.hub.accounts import Account, AccountRows, Changes, NewAccount
from entrepot.hub.errors import Forbidden, NotThere, Taken
from tests.support.hub_rows import hub_over
from tests.support.rows import Database

CONSOLE = Caller(address="192.0.2.1")


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


async def test_a_deleted_account_leaves_no_address_in_the_audit(accounts: AccountRows, database: Database) -> None:
    engine = database.connect().engine
    made = await accounts.add(new("alice", "a@example.com"), CONSOLE)
    await accounts.change(made.id, Changes(full_name="Alice"), replace(CONSOLE, account_id=made.id))
    await accounts.remove(made.id, "key of alice", replace(CONSOLE, account_id=made.id))
    rows = await engine.read("SELECT address FROM changes WHERE account_id = :id", id=made.id)
    assert {row[0] for row in rows[:-1]} == {""}
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
