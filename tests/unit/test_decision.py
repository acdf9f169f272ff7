"""The one decision, sentence by sentence of what the roles mean."""

from dataclasses import replace

import pytest

from entrepot.access.actor import ANONYMOUS, Actor, Role, Scopes
from entrepot.access.decision import Action, Facts, decide, may_create, role_in

ORGANIZATION, REPOSITORY = 7, 70
SOMEBODY = Actor(11, "sam", "person", payer_id=11, credential_kind="password")
ADMINISTRATOR = replace(SOMEBODY, account_id=1, name="admin", administrator=True)
FACTS = Facts(
    "acme/app",
    namespace_id=ORGANIZATION,
    namespace_kind="organization",
    repository_id=REPOSITORY,
    rights_version=3,
    visibility="private",
)
PUBLIC, INTERNAL = (replace(FACTS, visibility=each) for each in ("public", "internal"))
NOTHING_THERE = replace(FACTS, repository_id=None, rights_version=0, visibility="")


def scoped(role: Role, *, repositories: set[int] | None = None, namespaces: set[int] | None = None) -> Actor:
    """Somebody by a token with these scopes."""
    scopes = Scopes(
        role,
        None if repositories is None else frozenset(repositories),
        None if namespaces is None else frozenset(namespaces),
    )
    return replace(SOMEBODY, credential_id=5, credential_kind="personal", scopes=scopes)


def allowed(actor: Actor, facts: Facts) -> list[str]:
    """The actions that are."""
    return [action.word for action in Action if decide(actor, action, facts).allowed]


@pytest.mark.parametrize(
    ("granted", "actions"),
    [
        (Role.NONE, []),
        (Role.READ, ["pull"]),
        (Role.WRITE, ["pull", "push"]),
        (Role.ADMIN, ["pull", "push", "delete"]),
        (Role.OWNER, ["pull", "push", "delete", "own"]),
    ],
)
def test_read_pulls_write_pushes_admin_deletes_and_each_includes_those_before(
    granted: Role, actions: list[str]
) -> None:
    assert allowed(SOMEBODY, replace(FACTS, granted=granted)) == actions


@pytest.mark.parametrize(
    ("facts", "anonymous", "logged_in"),
    [(PUBLIC, ["pull"], ["pull"]), (INTERNAL, [], ["pull"]), (FACTS, [], [])],
    ids=["public", "internal", "private"],
)
def test_public_is_for_all_internal_for_any_login_private_for_nobody_without_a_grant(
    facts: Facts, anonymous: list[str], logged_in: list[str]
) -> None:
    assert allowed(ANONYMOUS, facts) == anonymous
    assert allowed(SOMEBODY, facts) == logged_in


def test_an_account_owns_what_is_in_its_own_namespace() -> None:
    assert allowed(SOMEBODY, replace(FACTS, namespace_id=SOMEBODY.account_id)) == ["pull", "push", "delete", "own"]


def test_owners_of_the_organization_and_administrators_own_what_is_in_it() -> None:
    assert allowed(SOMEBODY, replace(FACTS, membership="owner")) == ["pull", "push", "delete", "own"]
    assert allowed(ADMINISTRATOR, FACTS) == ["pull", "push", "delete", "own"]


@pytest.mark.parametrize(("role", "actions"), [("none", []), ("read", ["pull"]), ("write", ["pull", "push"])])
def test_members_have_the_role_that_the_organization_gives_them(role: str, actions: list[str]) -> None:
    assert allowed(SOMEBODY, replace(FACTS, membership="member", member_role=role)) == actions
    assert allowed(SOMEBODY, replace(FACTS, member_role=role)) == []


def test_of_a_grant_and_membership_the_higher_counts() -> None:
    member = replace(FACTS, membership="member", member_role="write")
    assert allowed(SOMEBODY, replace(member, granted=Role.READ)) == ["pull", "push"]
    assert allowed(SOMEBODY, replace(member, granted=Role.ADMIN)) == ["pull", "push", "delete"]


def test_anonymous_is_never_more_than_a_reader_whatever_the_facts_say() -> None:
    facts = replace(PUBLIC, granted=Role.ADMIN, membership="owner", member_role="write")
    assert allowed(ANONYMOUS, facts) == ["pull"]
    assert allowed(ANONYMOUS, replace(facts, visibility="private")) == []


def test_a_credentials_role_is_an_upper_bound_and_never_a_source() -> None:
    owner = replace(FACTS, membership="owner")
    assert allowed(scoped(Role.READ), owner) == ["pull"]
    assert allowed(scoped(Role.WRITE), owner) == ["pull", "push"]
    assert allowed(scoped(Role.ADMIN), owner) == ["pull", "push", "delete"]
    assert allowed(scoped(Role.ADMIN), replace(FACTS, granted=Role.READ)) == ["pull"]
    assert allowed(scoped(Role.ADMIN), FACTS) == []


@pytest.mark.parametrize("role", [Role.READ, Role.WRITE, Role.ADMIN, Role.OWNER])
def test_a_credential_for_named_repositories_or_namespaces_is_for_these_alone(role: Role) -> None:
    owner = replace(FACTS, membership="owner")
    for covering in (scoped(role, repositories={REPOSITORY}), scoped(role, namespaces={ORGANIZATION})):
        assert len(allowed(covering, owner)) == role
    for elsewhere in (scoped(role, repositories={71}), scoped(role, namespaces={8}), scoped(role, repositories=set())):
        assert allowed(elsewhere, owner) == []


def test_any_credential_reads_what_is_public() -> None:
    assert allowed(scoped(Role.ADMIN, repositories={REPOSITORY + 1}), PUBLIC) == ["pull"]
    assert allowed(scoped(Role.NONE), PUBLIC) == ["pull"]
    assert allowed(scoped(Role.ADMIN, repositories={REPOSITORY + 1}), INTERNAL) == []


def test_what_is_archived_is_only_read_by_whoever() -> None:
    archived = replace(FACTS, archived=True, membership="owner")
    assert allowed(SOMEBODY, archived) == ["pull", "own"]
    for action in (Action.PUSH, Action.DELETE):
        refused = decide(SOMEBODY, action, archived)
        assert (refused.policy, refused.visible) == (True, True)
        assert "archived" in refused.reason
        assert not decide(SOMEBODY, action, replace(archived, membership="")).policy


def test_what_may_not_be_read_is_not_visible_either() -> None:
    for action in Action:
        assert not decide(SOMEBODY, action, FACTS).visible
        assert decide(SOMEBODY, action, replace(FACTS, granted=Role.READ)).visible
        assert decide(SOMEBODY, action, PUBLIC).visible


def test_an_action_without_the_role_is_refused_with_what_is_missing() -> None:
    assert decide(SOMEBODY, Action.PUSH, PUBLIC).reason == "push needs the role write; public"
    assert decide(SOMEBODY, Action.PULL, replace(FACTS, granted=Role.WRITE)).reason == "granted write"


def test_a_decision_rests_on_the_repository_and_its_version_of_rights() -> None:
    basis = decide(ADMINISTRATOR, Action.DELETE, FACTS).basis
    assert basis is not None
    assert (basis.namespace_id, basis.repository_id, basis.rights_version) == (ORGANIZATION, REPOSITORY, 3)
    assert decide(SOMEBODY, Action.DELETE, FACTS).basis is None


@pytest.mark.parametrize(
    ("facts", "may"),
    [
        ({"namespace_id": SOMEBODY.account_id, "namespace_kind": "person"}, True),
        ({"membership": "owner"}, True),
        ({"membership": "owner", "creation": "owners"}, True),
        ({"membership": "member"}, True),
        ({"membership": "member", "creation": "owners"}, False),
        ({"granted_all": Role.WRITE}, True),
        ({"granted_all": Role.WRITE, "creation": "owners"}, False),
        ({"granted_all": Role.READ}, False),
        ({"granted": Role.ADMIN}, False),
        ({}, False),
    ],
)
def test_a_push_creates_as_the_namespace_says(facts: dict[str, object], may: bool) -> None:
    there = replace(NOTHING_THERE, **facts)  # type: ignore[arg-type]
    assert decide(SOMEBODY, Action.PUSH, there).allowed == may
    assert decide(SOMEBODY, Action.PULL, there).allowed == may  # may know that nothing is there
    assert decide(SOMEBODY, Action.DELETE, there).allowed == may  # nor to be deleted
    assert not decide(SOMEBODY, Action.OWN, there).allowed


def test_nobody_creates_without_a_login_nor_with_a_credential_that_is_too_small() -> None:
    mine = replace(NOTHING_THERE, membership="owner")
    assert not may_create(ANONYMOUS, mine)[0]
    assert not may_create(scoped(Role.READ), mine)[0]
    assert not may_create(scoped(Role.ADMIN, repositories={REPOSITORY}), mine)[0]
    assert may_create(scoped(Role.WRITE, namespaces={ORGANIZATION}), mine)[0]


def test_administrators_create_in_organizations_and_in_nobody_elses_namespace() -> None:
    assert may_create(ADMINISTRATOR, NOTHING_THERE)[0]
    assert not may_create(ADMINISTRATOR, replace(NOTHING_THERE, namespace_kind="person"))[0]


def test_a_name_that_was_given_up_stays_its_owners() -> None:
    former = replace(NOTHING_THERE, former=True)
    assert may_create(SOMEBODY, replace(former, membership="owner"))[0]
    assert not may_create(SOMEBODY, replace(former, membership="member"))[0]
    assert not may_create(SOMEBODY, replace(former, granted_all=Role.ADMIN))[0]


def test_a_new_repository_has_the_visibility_that_its_namespace_says() -> None:
    basis = decide(
        SOMEBODY, Action.PUSH, replace(NOTHING_THERE, membership="owner", default_visibility="private")
    ).basis
    assert basis is not None
    assert (basis.repository_id, basis.visibility) == (None, "private")


def test_in_a_namespace_that_does_not_exist_nobody_may_anything() -> None:
    for actor in (ANONYMOUS, SOMEBODY, ADMINISTRATOR):
        for action in Action:
            refused = decide(actor, action, Facts("nobody/x"))
            assert (refused.allowed, refused.visible, refused.policy) == (False, False, False)


def test_a_role_comes_with_where_it_comes_from() -> None:
    assert role_in(ADMINISTRATOR, FACTS) == (Role.OWNER, "administrator")
    assert role_in(scoped(Role.READ), replace(FACTS, membership="owner")) == (
        Role.READ,
        "owner of the organization, by a credential for read",
    )
