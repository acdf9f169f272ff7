"""Tags and repositories: e8 and `_catalog` (distribution-spec, "Content discovery")."""

import json
import re

import pytest

from tests.support.serving import OCI_INDEX, Registry, Server, a_manifest, fresh_name
from tests.support.wire import Answer

TAGS = ["0", "10", "9", "A", "B", "Z.z", "_", "a", "a-b", "a.b", "a_b", "b", "latest", "v1.0", "v1.10", "v1.9", "z"]
"""In the order of their bytes."""


def push_tags(registry: Registry, name: str, tags: list[str]) -> None:
    """An empty index under each of these tags."""
    content = a_manifest({"manifests": []}, OCI_INDEX)
    for tag in reversed(tags):
        assert registry.put_manifest(name, tag, content, OCI_INDEX).status == 201


def following(answer: Answer) -> str | None:
    """The target of the Link to the next page."""
    link = answer.header("link")
    if link is None:
        return None
    match = re.fullmatch('<(/v2/[^>]*)>; rel="next"', link)
    assert match
    return match[1]


def test_tags_are_listed_in_byte_order_as_compact_json(registry: Registry, name: str) -> None:
    push_tags(registry, name, TAGS)
    answer = registry.get(f"/v2/{name}/tags/list")
    assert answer.body == b'{"name":"%b","tags":[%b]}\n' % (
        name.encode(),
        json.dumps(TAGS)[1:-1].replace(", ", ",").encode(),
    )
    assert answer["content-type"] == "application/json"
    assert following(answer) is None
    head = registry.head(f"/v2/{name}/tags/list")
    assert (head.status, head["content-length"]) == (200, str(len(answer.body)))


@pytest.mark.parametrize("count", [1, 2, 7, 16, 17, 18, 1000, 5000])
def test_pages_of_tags_join_to_the_whole_list(registry: Registry, name: str, count: int) -> None:
    push_tags(registry, name, TAGS)
    target: str | None = f"/v2/{name}/tags/list?n={count}"
    found: list[str] = []
    while target:
        answer = registry.get(target)
        page = answer.json()["tags"]
        target = following(answer)
        assert len(page) == count if target else 0 < len(page) <= count
        found += page
    assert found == TAGS


def test_last_is_exclusive_and_needs_neither_n_nor_a_tag_that_is_there(registry: Registry, name: str) -> None:
    push_tags(registry, name, TAGS)
    for last in (*TAGS, "", "a.", "~", "%C3%A9", "Zz", " "):
        tags = registry.get(f"/v2/{name}/tags/list?last={last.replace(' ', '%20')}").json()["tags"]
        assert tags == [tag for tag in TAGS if tag > last.replace("%C3%A9", "é")]


@pytest.mark.parametrize("count", ["0", "00", "000000000000000000000000"])
def test_n_of_0_is_an_empty_page_without_a_link(registry: Registry, name: str, count: str) -> None:
    push_tags(registry, name, ["v1"])
    for target, empty in (
        (f"/v2/{name}/tags/list", f'{{"name":"{name}","tags":[]}}'),
        ("/v2/_catalog", '{"repositories":[]}'),
    ):
        answer = registry.get(f"{target}?n={count}")
        assert (answer.status, answer.body.decode(), answer.header("link")) == (200, f"{empty}\n", None)


@pytest.mark.parametrize("count", ["-1", "+1", "x", "1.5", "1e3", "%D9%A1", "0x10", "1%20", "1,2"])
def test_n_that_is_no_number_is_400(registry: Registry, name: str, count: str) -> None:
    for target in (f"/v2/{name}/tags/list", "/v2/_catalog"):
        answer = registry.get(f"{target}?n={count}")
        assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize("count", ["00000000000000000003", "3&n=3&unknown=1", "3&last=&last="])
def test_leading_zeros_and_what_is_said_twice_alike_do_no_harm(registry: Registry, name: str, count: str) -> None:
    push_tags(registry, name, TAGS)
    assert registry.get(f"/v2/{name}/tags/list?n={count}").json()["tags"] == TAGS[:3]


def test_two_different_values_of_one_parameter_are_400(server: Server, name: str) -> None:
    push_tags(server, name, ["v1"])
    for query in ("n=1&n=2", "last=a&last=b"):
        assert server.get(f"/v2/{name}/tags/list?{query}").status == 400


def test_an_enormous_n_is_clamped_and_pages_go_on(server: Server, name: str) -> None:
    push_tags(server, name, [f"{number:04}" for number in range(1001)])
    for count in ("", "?n=1001", "?n=99999999999999999999"):
        answer = server.get(f"/v2/{name}/tags/list{count}")
        assert len(answer.json()["tags"]) == 1000
        assert following(answer) == f"/v2/{name}/tags/list?last=0999&n=1000"


def test_a_repository_without_tags_has_an_empty_list_and_one_that_never_was_is_404(
    registry: Registry, name: str
) -> None:
    answer = registry.get(f"/v2/{name}/tags/list")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    registry.open_upload(name)
    assert registry.get(f"/v2/{name}/tags/list").status == 404
    registry.push_blob(name, b"{}")
    answer = registry.get(f"/v2/{name}/tags/list")
    assert (answer.status, answer.json()) == (200, {"name": name, "tags": []})


def test_the_catalog_pages_in_byte_order(registry: Registry) -> None:
    root = fresh_name()
    names = [f"{root}/{part}" for part in ("0", "a", "a-b", "a.b", "a/b", "a_b", "aa", "b")]
    for each in reversed(names):
        push_tags(registry, each, ["v1"])
    target: str | None = "/v2/_catalog?n=3"
    found: list[str] = []
    while target:
        answer = registry.get(target)
        found += answer.json()["repositories"]
        target = following(answer)
    assert [each for each in found if each.startswith(root)] == names
    assert found == sorted(found)
    assert registry.get(f"/v2/_catalog?n=2&last={root}").json()["repositories"] == names[:2]
