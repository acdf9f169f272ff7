"""The listings of the port ManifestRows, over SQLite and PostgreSQL: byte order, pages, referrers."""

from tests.support.rows import DAY, SOMEBODY, STORE, Rows, a_blob, a_digest, a_manifest, holds, push

HELLO = "library/hello"
SIGNATURE = "application/vnd.example.signature"


async def test_tags_come_in_byte_order(rows: Rows) -> None:
    """As bytes sort them: digits, capitals, the underscore, small letters; a language would mix these."""
    tags = ["a", "B", "_x", "1", "10", "2", "a-b", "a.b", "aB", "ab", "Z", "z"]
    await push(rows, a_manifest(), *tags)
    expected = ["1", "10", "2", "B", "Z", "_x", "a", "a-b", "a.b", "aB", "ab", "z"]
    assert await rows.manifests.tags(HELLO, "", 100) == expected


async def test_tags_go_on_after_any_name_page_by_page(rows: Rows) -> None:
    await push(rows, a_manifest(), "a", "b", "c", "d")
    assert await rows.manifests.tags(HELLO, "", 2) == ["a", "b"]
    assert await rows.manifests.tags(HELLO, "b", 2) == ["c", "d"]
    assert await rows.manifests.tags(HELLO, "bb", 1) == ["c"]
    assert await rows.manifests.tags(HELLO, "d", 2) == []


async def test_tags_are_of_one_repository(rows: Rows) -> None:
    await push(rows, a_manifest(), "mine")
    await push(rows, a_manifest(), "theirs", repository="library/other")
    assert await rows.manifests.tags(HELLO, "", 10) == ["mine"]
    assert await rows.manifests.tags("library/unknown", "", 10) == []


async def test_repositories_come_in_byte_order_page_by_page(rows: Rows) -> None:
    names = ["a/b", "a-b", "a", "a/b/c", "a.b", "a_b", "ab", "0"]
    for name in names:
        await push(rows, a_manifest(), "v1", repository=name)
    expected = ["0", "a", "a-b", "a.b", "a/b", "a/b/c", "a_b", "ab"]
    assert await rows.manifests.repositories("", 100) == expected
    assert await rows.manifests.repositories("a.b", 2) == ["a/b", "a/b/c"]
    assert await rows.manifests.repositories("ab", 2) == []


async def test_a_repository_is_listed_while_it_holds_something(rows: Rows) -> None:
    await rows.uploads.open_upload("just/started", "some-upload", STORE, None, DAY, SOMEBODY)
    digest = await a_blob(rows, "only/a-blob")
    manifest = a_manifest()
    await push(rows, manifest, repository="only/a-manifest")
    assert await rows.manifests.repositories("", 10) == ["only/a-blob", "only/a-manifest"]
    exist = [await holds(rows, f"only/{kind}") for kind in ("a-blob", "a-manifest")]
    assert exist == [True, True]
    assert not await holds(rows, "just/started")
    await rows.deletions.unlink_blob("only/a-blob", digest, SOMEBODY)
    await rows.deletions.delete_manifest("only/a-manifest", manifest.digest, SOMEBODY)
    assert await rows.manifests.repositories("", 10) == []
    assert not await holds(rows, "only/a-blob")


async def test_referrers_are_the_manifests_that_name_the_subject(rows: Rows) -> None:
    subject = a_digest()
    manifest = a_manifest(b"x" * 77, subject=subject, artifact_type=SIGNATURE, annotations='{"a":"b"}')
    await push(rows, manifest)
    await push(rows, a_manifest(subject=a_digest()))
    await push(rows, a_manifest(subject=subject), repository="library/other")
    (found,) = await rows.manifests.referrers(HELLO, subject, None, 0, 10)
    assert (found.digest, found.media_type, found.size) == (manifest.digest, manifest.media_type, 77)
    assert (found.artifact_type, found.annotations) == (SIGNATURE, '{"a":"b"}')


async def test_referrers_of_what_is_not_there_are_none(rows: Rows) -> None:
    assert await rows.manifests.referrers("library/unknown", a_digest(), None, 0, 10) == []


async def test_referrers_go_on_after_an_id_page_by_page(rows: Rows) -> None:
    subject = a_digest()
    pushed = [await push(rows, a_manifest(subject=subject)) for _ in range(5)]
    listed: list[str] = []
    after = 0
    while page := await rows.manifests.referrers(HELLO, subject, None, after, 2):
        assert len(page) <= 2
        listed += [referrer.digest for referrer in page]
        after = page[-1].id
    assert listed == pushed


async def test_a_page_of_referrers_misses_none_when_others_are_deleted_meanwhile(rows: Rows) -> None:
    subject = a_digest()
    pushed = [await push(rows, a_manifest(subject=subject)) for _ in range(4)]
    first = await rows.manifests.referrers(HELLO, subject, None, 0, 2)
    await rows.deletions.delete_manifest(HELLO, pushed[0], SOMEBODY)
    rest = await rows.manifests.referrers(HELLO, subject, None, first[-1].id, 10)
    assert [referrer.digest for referrer in rest] == pushed[2:]


async def test_referrers_can_be_of_one_artifact_type(rows: Rows) -> None:
    subject = a_digest()
    signature = await push(rows, a_manifest(subject=subject, artifact_type=SIGNATURE))
    await push(rows, a_manifest(subject=subject, artifact_type="application/vnd.example.sbom"))
    await push(rows, a_manifest(subject=subject))
    found = await rows.manifests.referrers(HELLO, subject, SIGNATURE, 0, 10)
    assert [referrer.digest for referrer in found] == [signature]


async def test_a_deleted_referrer_is_listed_no_more(rows: Rows) -> None:
    subject = a_digest()
    digest = await push(rows, a_manifest(subject=subject))
    await rows.deletions.delete_manifest(HELLO, digest, SOMEBODY)
    assert await rows.manifests.referrers(HELLO, subject, None, 0, 10) == []
