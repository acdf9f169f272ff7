"""Reading the scopes that clients ask for: whatever comes, never an error."""

from hypothesis import given
from hypothesis import strategies as st

from entrepot.access.scopes import MOST_SCOPES, Scope, parse_scopes

PULL, BOTH = frozenset({"pull"}), frozenset({"pull", "push"})


def test_scopes_come_one_by_one_or_with_spaces_between_them() -> None:
    wanted = [Scope("repository", "library/a", PULL), Scope("repository", "b", PULL)]
    assert parse_scopes(["repository:library/a:pull", "repository:b:pull"]) == wanted
    assert parse_scopes(["repository:library/a:pull repository:b:pull"]) == wanted
    assert parse_scopes(["repository:library/a:pull  ", "", " repository:b:pull"]) == wanted


def test_the_same_name_twice_is_one_scope_with_the_actions_of_both() -> None:
    assert parse_scopes(["repository:a:pull repository:a:push"]) == [Scope("repository", "a", BOTH)]


def test_a_name_may_have_colons_as_a_host_with_a_port_has() -> None:
    assert parse_scopes(["repository:localhost:5000/a:pull"]) == [Scope("repository", "localhost:5000/a", PULL)]


def test_the_class_of_a_resource_is_passed_over() -> None:
    assert parse_scopes(["repository(plugin):a:pull"]) == [Scope("repository", "a", PULL)]


def test_empty_actions_between_commas_are_none() -> None:
    assert parse_scopes(["repository:a:,pull,,push,"]) == [Scope("repository", "a", BOTH)]


def test_what_is_no_scope_is_dropped_and_the_others_stay() -> None:
    odd = ["", " ", "x", ":", "::", "repository", "repository:", "repository:a", "repository::pull"]
    assert parse_scopes([*odd, "repository:a:pull"]) == [Scope("repository", "a", PULL)]


def test_of_very_many_scopes_the_first_are_read() -> None:
    found = parse_scopes([" ".join(f"repository:r{number}:pull" for number in range(10_000))])
    assert [scope.name for scope in found] == [f"r{number}" for number in range(MOST_SCOPES)]


@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text_can_be_read(texts: list[str]) -> None:
    for scope in parse_scopes(texts):
        assert scope.name
        assert "" not in scope.actions
