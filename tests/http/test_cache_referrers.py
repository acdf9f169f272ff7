"""Referrers that are read through: all pages of an upstream's list, of the type that is wanted, from nowhere else."""

import json
import os
import re
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest

from tests.support.scripted_upstream import Script, scripted_upstream
from tests.support.serving import (
    OCI_INDEX,
    OCI_MANIFEST,
    Server,
    a_manifest,
    an_image,
    descriptor,
    digest_of,
    serving,
)
from tests.support.wire import Answer, whole

SBOM, SIGNATURE = "application/vnd.example.sbom+json", "application/vnd.example.signature"
SUBJECT = digest_of(b"a subject")
_NUMBERS = count()
_MOST = 30
_NEXT = re.compile('<(/v2/[^>]*)>; rel="next"')


class Scene(NamedTuple):
    """A cache, its upstream's script, and the alias that is this test's alone."""

    cache: Server
    script: Script
    alias: str
    name: str

    def target(self, query: str = "") -> str:
        """Of the referrers of SUBJECT."""
        return f"/v2/{self.alias}/{self.name}/referrers/{SUBJECT}{query}"

    def ask(self, target: str) -> Answer:
        """A request that may be answered by a 5xx."""
        with self.cache.connect() as connection:
            return connection.ask(whole("GET", target, (), None), "GET")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Script]]:
    with scripted_upstream() as upstream:
        configured = {f"up{number}.example": {"url": upstream.url} for number in range(_MOST)}
        directory = tmp_path_factory.mktemp("referrers")
        with serving(directory, upstreams=json.dumps(configured), workers="1") as cache:
            yield cache, upstream.script


@pytest.fixture
def scene(running: tuple[Server, Script], name: str) -> Scene:
    cache, script = running
    script.reset()
    return Scene(cache, script, f"up{next(_NUMBERS)}.example", name)


def some(number: int, artifact_type: str, **annotations: str) -> list[dict[str, Any]]:
    """Descriptors of referrers."""
    more = {"artifactType": artifact_type, "annotations": annotations}
    return [descriptor(os.urandom(8), OCI_MANIFEST, **more) for _ in range(number)]


def pages(script: Script, *parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The upstream lists these, page by page; all of them."""
    script.pages = [a_manifest({"manifests": part}, OCI_INDEX) for part in parts]
    return [each for part in parts for each in part]


@pytest.mark.parametrize(
    "link",
    [
        '<{path}?page={number}&x=a+b%2Bc>; rel="next"',
        "<{path}?page={number}&x=a+b%2Bc>;rel=next",
        '</v2?page=9>; rel="prev", <https://elsewhere.example{path}?page={number}&x=a+b%2Bc>; title=x; rel="last next"',
    ],
)
def test_all_pages_are_one_answer_and_nobody_else_is_asked_for_them(scene: Scene, link: str) -> None:
    everything = pages(scene.script, some(3, SBOM), some(2, SIGNATURE), some(1, SBOM))
    scene.script.link = link
    answer = scene.cache.get(scene.target())
    assert answer.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": everything}
    assert (answer["content-type"], answer.header("link")) == (OCI_INDEX, None)
    assert answer.header("oci-filters-applied") is None
    assert scene.script.queries == ["", "page=1&x=a+b%2Bc", "page=2&x=a+b%2Bc"], "as the upstream has written it"


@pytest.mark.parametrize("quirks", [set(), {"filters"}], ids=["upstream does not filter", "upstream filters"])
def test_the_filter_is_applied_to_all_pages_and_that_is_said(scene: Scene, quirks: set[str]) -> None:
    everything = pages(scene.script, some(2, SBOM) + some(2, SIGNATURE), some(2, SIGNATURE), some(1, SBOM))
    scene.script.quirks = quirks
    scene.script.link = f'<{{path}}?page={{number}}&artifactType={SBOM.replace("+", "%2B")}>; rel="next"'
    answer = scene.cache.get(scene.target(f"?artifactType={SBOM.replace('+', '%2B')}"))
    assert answer.json()["manifests"] == [each for each in everything if each["artifactType"] == SBOM]
    assert answer["oci-filters-applied"] == "artifactType"
    assert scene.script.queries[0] == f"artifactType={SBOM.replace('/', '%2F').replace('+', '%2B')}"


def test_a_list_that_is_too_large_for_one_answer_goes_on_by_our_own_link(scene: Scene) -> None:
    everything = pages(scene.script, *(some(4, SBOM, text="x" * 300_000) for _ in range(6)))
    for door in (scene.target(), f"/v2/{scene.name}/referrers/{SUBJECT}?ns={scene.alias}"):
        found: list[dict[str, Any]] = []
        target = door
        while target:
            answer = scene.cache.get(target)
            assert len(answer.body) < 4 * 1024 * 1024
            assert len(found) < len(everything), "it ends"
            found += answer.json()["manifests"]
            link = _NEXT.fullmatch(answer.header("link") or "")
            target = link[1] if link else ""
        assert found == everything


def test_an_endless_list_costs_no_more_than_a_hundred_requests_an_answer(scene: Scene) -> None:
    scene.script.quirks = {"endless"}
    pages(scene.script, some(1, SBOM))
    answer = scene.cache.get(scene.target())
    assert (answer.status, len(answer.json()["manifests"]), len(scene.script.queries)) == (200, 100, 100)
    scene.script.link = "<{path}?>; rel=next"
    assert len(scene.cache.get(scene.target()).json()["manifests"]) == 1, "a next page that is the same is none"


def test_a_page_that_cannot_be_had_is_where_the_answer_ends_and_an_error_when_it_is_asked_for(scene: Scene) -> None:
    everything = pages(scene.script, some(2, SBOM), some(1, SBOM))
    whole_list, scene.script.pages[1] = scene.script.pages[1], b"1"
    answer = scene.cache.get(scene.target())
    assert answer.json()["manifests"] == everything[:2]
    link = _NEXT.fullmatch(answer["link"])
    assert link is not None
    assert scene.ask(link[1]).status == 502
    scene.script.pages[1] = whole_list
    assert scene.ask(link[1]).json()["manifests"] == everything[2:]


@pytest.mark.parametrize("first", [b"no list", b"[" * 100_000, b'{"manifests": 1}', b'"text"'])
def test_what_is_no_list_is_answered_from_what_is_stored(scene: Scene, first: bytes) -> None:
    scene.script.referrers[SUBJECT] = first
    nothing = scene.ask(scene.target())
    assert (nothing.status, nothing.message) == (502, f"{scene.alias} answers with what is no list")
    subject = {"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 9}
    signature = a_manifest(json.loads(an_image(b"{}")) | {"subject": subject, "artifactType": SIGNATURE})
    scene.script.manifests[digest_of(signature)] = signature
    assert scene.cache.get(f"/v2/{scene.alias}/{scene.name}/manifests/{digest_of(signature)}").body == signature
    answer = scene.cache.get(scene.target())
    assert [each["digest"] for each in answer.json()["manifests"]] == [digest_of(signature)]
    assert "answers with what is no list" in answer["warning"], "so nobody takes it for the upstream's word"
    assert scene.ask(scene.target("?artifactType=other")).status == 502, "an empty list would say that there is none"


@pytest.mark.parametrize(("fault", "status"), [(403, 403), (429, 429), (500, 502), ("close", 502)])
def test_referrers_of_which_nothing_is_stored_are_what_the_upstream_says(
    scene: Scene, fault: int | str, status: int
) -> None:
    scene.script.faults = {"referrer": fault, "token": fault}
    assert scene.ask(scene.target()).status == status


def test_where_the_upstream_has_no_such_lists_the_tag_is_read_that_clients_keep_for_it(scene: Scene) -> None:
    neither = scene.cache.get(scene.target())
    assert (neither.json()["manifests"], neither.header("warning")) == ([], None)
    listed = some(1, SBOM) + some(1, SIGNATURE)
    index = a_manifest({"manifests": listed}, OCI_INDEX)
    tag = SUBJECT.replace(":", "-")
    scene.script.manifests |= {tag: index, digest_of(index): index}
    scene.script.types[digest_of(index)] = OCI_INDEX
    at = scene._replace(name=f"{scene.name}/other")  # of which it is not known yet that there is no tag
    assert scene.cache.get(at.target()).json()["manifests"] == listed
    filtered = scene.cache.get(at.target(f"?artifactType={SIGNATURE}"))
    assert (filtered.json()["manifests"], filtered["oci-filters-applied"]) == (listed[1:], "artifactType")
    scene.script.faults = {"referrer": 503, "head": 503}
    stored = scene.cache.get(at.target())
    assert (stored.status, "scripted 503" in stored["warning"]) == (200, True)
