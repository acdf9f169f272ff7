"""Retention where several nodes serve: what was asked of any of them a moment ago is kept, or nothing goes."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.http.conftest import large
from tests.support.hub_world import ADMIN_PASSWORD, SECRET_KEY, Person, World, basic, serving_world
from tests.support.serving import Server, serving
from tests.support.wire import Answer

HOUR = 3_600_000_000
UNUSED = {"rules": [{"action": "delete", "tags": "*", "not_pulled_within": "1h"}]}


@pytest.fixture(scope="module")
def where(postgres_server: str, s3_server: str) -> Iterator[dict[str, str]]:
    """A database and a bucket of all nodes."""
    with large(postgres_server, s3_server) as settings:
        yield settings


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, where: dict[str, str]) -> Iterator[World]:
    """The node that is asked to delete what nobody uses."""
    with serving_world(tmp_path_factory.mktemp("first"), **where) as world:
        yield world


@contextmanager
def another(directory: Path, where: dict[str, str]) -> Iterator[Server]:
    """A second node."""
    with serving(directory, accounts=True, secret_key=SECRET_KEY, **where) as server:
        yield server


def signalled(node: Server, *numbers: signal.Signals) -> None:
    """Send signals to all processes of a node at once."""
    processes = [node.process.pid, *node.workers()]
    for number in numbers:
        for process in processes:
            os.kill(process, number)


def killed(node: Server) -> None:
    """All processes end at one moment, so that none sees another one's end."""
    signalled(node, signal.SIGSTOP, signal.SIGKILL)
    node.process.wait()


def ask(world: World, method: str, path: str, body: object = None) -> Answer:
    """A request of the administrator to the API of the first node."""
    headers = {**basic("admin", ADMIN_PASSWORD), **({} if body is None else {"Content-Type": "application/json"})}
    return world.server.request(method, f"/api/v1{path}", headers, None if body is None else json.dumps(body).encode())


def two_images(world: World, owner: Person) -> str:
    """A repository with two images that nobody has used for long, and the policy that lets such go."""
    name = world.repository(owner, f"{owner.name}/{uuid4().hex[:8]}")
    for tag in ("used", "unused"):
        world.by_basic(owner).push_image(name, tag)
    old = {"age": 5 * HOUR, "name": name}
    world.execute(
        "UPDATE tags SET moved_at = now_us() - CAST(:age AS bigint) WHERE repository_id ="
        " (SELECT id FROM repositories WHERE name = :name)",
        **old,
    )
    assert ask(world, "PUT", f"/repositories/{name}/-/retention", UNUSED).status == 204
    return name


def tags(world: World, owner: Person, name: str) -> list[str]:
    """What is there."""
    return list(world.by_basic(owner).get(f"/v2/{name}/tags/list").json()["tags"])


def run(world: World, name: str) -> Answer:
    """Run the policy now."""
    return ask(world, "POST", f"/repositories/{name}/-/retention/run")


def test_what_was_asked_of_another_node_just_now_is_kept(first: World, where: dict[str, str], tmp_path: Path) -> None:
    """By HEAD and by GET; by a run that is asked for."""
    olga = first.person()
    with another(tmp_path, where) as second:
        for method in ("HEAD", "GET"):
            name = two_images(first, olga)
            assert second.request(method, f"/v2/{name}/manifests/used", olga.basic).status == 200
            done = run(first, name)
            assert (done.status, [each["tag"] for each in done.json()["items"]]) == (200, ["unused"])
            assert tags(first, olga, name) == ["used"]


def test_nothing_goes_while_a_node_is_frozen(first: World, where: dict[str, str], tmp_path: Path) -> None:
    olga = first.person()
    with another(tmp_path, where) as second:
        name = two_images(first, olga)
        assert second.head(f"/v2/{name}/manifests/used", olga.basic).status == 200
        signalled(second, signal.SIGSTOP)
        try:
            refused = run(first, name)
            (second_name,) = (second.data / "pulls" / "node").read_text().split()
            assert refused.status == 409
            assert f"node {second_name}" in refused.json()["detail"]
            assert tags(first, olga, name) == ["unused", "used"]
        finally:
            signalled(second, signal.SIGCONT)
        assert run(first, name).status == 200
        assert tags(first, olga, name) == ["used"]


def test_nothing_goes_while_a_killed_node_has_events_on_its_disk(
    first: World, where: dict[str, str], tmp_path: Path
) -> None:
    """When it is back, what it was asked for is kept."""
    olga = first.person()
    with another(tmp_path, where) as second:
        name = two_images(first, olga)
        assert second.head(f"/v2/{name}/manifests/used", olga.basic).status == 200
        killed(second)
    assert run(first, name).status == 409
    assert tags(first, olga, name) == ["unused", "used"]
    with another(tmp_path, where):
        assert run(first, name).status == 200
        assert tags(first, olga, name) == ["used"]


def test_a_node_that_was_stopped_is_waited_for_no_more_and_what_it_answered_counts(
    first: World, where: dict[str, str], tmp_path: Path
) -> None:
    olga = first.person()
    with another(tmp_path, where) as second:
        name = two_images(first, olga)
        assert second.head(f"/v2/{name}/manifests/used", olga.basic).status == 200
        assert second.stop() == 0
    assert [path.name for path in (tmp_path / "data" / "pulls").iterdir()] == ["node"]
    assert run(first, name).status == 200
    assert tags(first, olga, name) == ["used"]


def test_a_node_that_never_comes_back_can_be_forgotten(first: World, where: dict[str, str], tmp_path: Path) -> None:
    olga = first.person()
    with another(tmp_path, where) as second:
        killed(second)
    name = two_images(first, olga)
    refused = run(first, name)
    node = (tmp_path / "data" / "pulls" / "node").read_text()
    assert f"DELETE /api/v1/usage/nodes/{node}" in refused.json()["detail"]
    assert ask(first, "DELETE", f"/usage/nodes/{node}").status == 204
    assert run(first, name).status == 200
    assert tags(first, olga, name) == []


def test_a_run_right_after_the_start_works(tmp_path: Path) -> None:
    with serving_world(tmp_path) as alone:
        olga = alone.person()
        name = two_images(alone, olga)
        assert alone.by_basic(olga).head(f"/v2/{name}/manifests/used").status == 200
        assert run(alone, name).status == 200
        assert tags(alone, olga, name) == ["used"]
