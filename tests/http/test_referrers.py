"""Referrers: e12 (distribution-spec, "Listing referrers")."""

import re

import pytest

from tests.support.serving import OCI_INDEX, OCI_MANIFEST, Registry, Server, a_manifest, descriptor, digest_of

SBOM, SIGNATURE = "application/vnd.example.sbom.v1+json", "application/vnd.example.signature"
SUBJECT = descriptor(b"a subject that is not here", OCI_MANIFEST)
AT = f"referrers/{SUBJECT['digest']}"


@pytest.mark.parametrize("digest", [digest_of(b"x"), digest_of(b"x", "sha512")])
def test_without_referrers_there_is_an_empty_index_even_in_a_repository_that_never_was(
    registry: Registry, name: str, digest: str
) -> None:
    answer = registry.get(f"/v2/{name}/referrers/{digest}")
    assert (answer.status, answer["content-type"]) == (200, OCI_INDEX)
    assert answer.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    head = registry.head(f"/v2/{name}/referrers/{digest}")
    assert (head.status, head["content-length"]) == (200, str(len(answer.body)))


@pytest.mark.parametrize("digest", ["latest", "sha256:abc", "sha256:" + "A" * 64, "md5:" + "0" * 32, "sha256"])
def test_a_malformed_digest_is_400(registry: Registry, name: str, digest: str) -> None:
    answer = registry.get(f"/v2/{name}/referrers/{digest}")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_referrers_say_what_they_are(registry: Registry, name: str) -> None:
    plain = registry.push_artifact(name, subject=SUBJECT, artifactType=SBOM)
    noted = registry.push_artifact(name, subject=SUBJECT, artifactType=SIGNATURE, annotations={"a": "é", "b": ""})
    config = descriptor(b"{}", "application/vnd.example.config")
    by_config = registry.push_artifact(name, subject=SUBJECT, artifactType=None, config=config)
    index = a_manifest({"manifests": [], "subject": SUBJECT}, OCI_INDEX)
    typed_index = a_manifest({"manifests": [], "subject": SUBJECT, "artifactType": SBOM}, OCI_INDEX)
    for content in (index, typed_index):
        assert registry.put_manifest(name, digest_of(content), content, OCI_INDEX).status == 201
    registry.push_artifact(name, subject=descriptor(b"another", OCI_MANIFEST))
    registry.push_artifact(f"{name}/other", subject=SUBJECT, annotations={"else": "where"})
    found = registry.get(f"/v2/{name}/{AT}").json()["manifests"]
    assert sorted(found, key=lambda each: str(each["digest"])) == sorted(
        [
            {**plain, "artifactType": SBOM},
            {**noted, "artifactType": SIGNATURE, "annotations": {"a": "é", "b": ""}},
            {**by_config, "artifactType": "application/vnd.example.config"},
            descriptor(index, OCI_INDEX),
            descriptor(typed_index, OCI_INDEX, artifactType=SBOM),
        ],
        key=lambda each: str(each["digest"]),
    )


def test_the_filter_is_applied_and_says_so(registry: Registry, name: str) -> None:
    sbom = registry.push_artifact(name, subject=SUBJECT, artifactType=SBOM)
    registry.push_artifact(name, subject=SUBJECT, artifactType=SIGNATURE)
    assert registry.get(f"/v2/{name}/{AT}").header("oci-filters-applied") is None
    for written in (SBOM.replace("+", "%2B"), SBOM):
        answer = registry.get(f"/v2/{name}/{AT}?artifactType={written}")
        assert answer["oci-filters-applied"] == "artifactType"
        assert [each["digest"] for each in answer.json()["manifests"]] == [sbom["digest"]]
    answer = registry.get(f"/v2/{name}/{AT}?artifactType=nothing/like-it")
    assert (answer["oci-filters-applied"], answer.json()["manifests"]) == ("artifactType", [])


def test_more_than_fits_in_one_answer_comes_in_pages(registry: Registry, name: str) -> None:
    big = "x" * 1_200_000
    pushed = [
        registry.push_artifact(
            name,
            subject=SUBJECT,
            artifactType=SBOM if number % 2 else SIGNATURE,
            annotations={"n": str(number), "x": big},
        )["digest"]
        for number in range(6)
    ]
    pushed += [
        registry.push_artifact(name, subject=SUBJECT, artifactType=SBOM, annotations={"n": str(number)})["digest"]
        for number in range(6, 60)
    ]
    for query, wanted in (("", pushed), (f"?artifactType={SBOM.replace('+', '%2B')}", pushed[1:6:2] + pushed[6:])):
        target, found, pages = f"/v2/{name}/{AT}{query}", [], 0
        while target:
            answer = registry.get(target)
            assert len(answer.body) < 4 * 1024 * 1024
            assert answer.header("oci-filters-applied") == ("artifactType" if query else None)
            found += [each["digest"] for each in answer.json()["manifests"]]
            pages += 1
            match = re.fullmatch('<(/v2/[^>]*)>; rel="next"', answer.header("link") or "")
            target = match[1] if match else ""
        assert found == wanted
        assert pages > 1


@pytest.mark.parametrize("after", ["x", "-1", "1" * 40, "%D9%A1"])
def test_a_page_that_no_link_named_is_400(registry: Registry, name: str, after: str) -> None:
    assert registry.get(f"/v2/{name}/{AT}?after={after}").status == 400


def test_a_deleted_referrer_leaves_the_list_and_a_deleted_subject_takes_the_others_along(
    registry: Registry, name: str
) -> None:
    subject = registry.push_artifact(name)
    kept, dropped = (
        registry.push_artifact(name, subject=subject, annotations={"n": number})["digest"] for number in "12"
    )
    assert registry.delete(f"/v2/{name}/manifests/{dropped}").status == 202
    found = registry.get(f"/v2/{name}/referrers/{subject['digest']}").json()["manifests"]
    assert [each["digest"] for each in found] == [kept]
    assert registry.delete(f"/v2/{name}/manifests/{subject['digest']}").status == 202
    found = registry.get(f"/v2/{name}/referrers/{subject['digest']}").json()["manifests"]
    assert found == []
    assert registry.get(f"/v2/{name}/manifests/{kept}").status == 404


def test_referrers_that_came_before_their_subject_go_with_it_and_one_without_a_subject_is_deleted_by_itself(
    registry: Registry, name: str
) -> None:
    content = a_manifest({"manifests": [], "annotations": {"of": name}}, OCI_INDEX)
    subject = descriptor(content, OCI_INDEX)
    signature = registry.push_artifact(name, subject=subject)
    above = registry.push_artifact(name, subject=signature)["digest"]
    alone = registry.push_artifact(name, subject=SUBJECT)["digest"]
    assert registry.put_manifest(name, "v1", content, OCI_INDEX).status == 201
    listed = registry.get(f"/v2/{name}/referrers/{subject['digest']}").json()["manifests"]
    assert [each["digest"] for each in listed] == [signature["digest"]]
    assert registry.delete(f"/v2/{name}/manifests/{subject['digest']}").status == 202
    for digest in (subject["digest"], signature["digest"], above):
        assert registry.get(f"/v2/{name}/manifests/{digest}").status == 404
    assert registry.get(f"/v2/{name}/manifests/{alone}").status == 200
    assert registry.delete(f"/v2/{name}/manifests/{alone}").status == 202
    assert registry.get(f"/v2/{name}/{AT}").json()["manifests"] == []


def test_a_fallback_tag_of_an_old_client_can_be_pushed_and_its_manifests_are_listed_once(
    registry: Registry, name: str
) -> None:
    referrer = registry.push_artifact(name, subject=SUBJECT, artifactType=SBOM)
    listed = {**referrer, "artifactType": "application/vnd.wrong"}
    index = a_manifest({"manifests": [listed, descriptor(b"gone", OCI_MANIFEST)]}, OCI_INDEX)
    tag = SUBJECT["digest"].replace(":", "-")
    assert registry.put_manifest(name, tag, index, OCI_INDEX).status == 201
    assert registry.get(f"/v2/{name}/manifests/{tag}").body == index
    assert registry.get(f"/v2/{name}/{AT}").json()["manifests"] == [{**referrer, "artifactType": SBOM}]


def test_a_referrer_can_be_asked_for_by_the_digest_of_its_algorithm(server: Server, name: str) -> None:
    subject = {**SUBJECT, "digest": digest_of(b"a subject", "sha512")}
    referrer = server.push_artifact(name, subject=subject)
    found = server.get(f"/v2/{name}/referrers/{subject['digest']}").json()["manifests"]
    assert [each["digest"] for each in found] == [referrer["digest"]]
