"""The port DeletionRows, over SQLite and PostgreSQL: what a deletion takes along, and what that costs."""

from entrepot.database.deletion import DatabaseDeletions
from tests.support.recording import Recording
from tests.support.rows import SOMEBODY, Rows, a_manifest, push

HELLO = "library/hello"


async def test_indexes_that_have_their_children_in_common_are_not_looked_at_for_each_again(rows: Rows) -> None:
    """So many more of both cost so many more statements, and not their product; all of them go."""
    costs = []
    for count in (4, 8, 12):
        subject = await push(rows, a_manifest())
        children = [await push(rows, a_manifest()) for _ in range(count)]
        indexes = [await push(rows, a_manifest(children=tuple(children), subject=subject)) for _ in range(count)]
        recording = Recording(rows.engine)
        preview = await DatabaseDeletions(recording).preview(HELLO, subject, SOMEBODY)
        assert preview is not None
        assert preview.manifests == sorted([subject, *children, *indexes])
        costs.append(recording.count)
    assert costs[2] - costs[1] == costs[1] - costs[0]


async def test_a_child_stays_as_long_as_one_index_that_names_it(rows: Rows) -> None:
    subject, common, alone, kept = [await push(rows, a_manifest()) for _ in range(4)]
    one = await push(rows, a_manifest(children=(common, kept), subject=subject))
    two = await push(rows, a_manifest(children=(common, alone), subject=subject))
    stays = await push(rows, a_manifest(children=(kept,)))
    deleted = await rows.deletions.delete_manifest(HELLO, subject, SOMEBODY)
    assert deleted is not None
    assert deleted.manifests == sorted([subject, one, two, common, alone])
    deleted = await rows.deletions.delete_manifest(HELLO, stays, SOMEBODY)
    assert deleted is not None
    assert deleted.manifests == sorted([stays, kept])
