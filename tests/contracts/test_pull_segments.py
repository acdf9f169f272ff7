"""The ports PullEvents and PullSegments over files: what is appended is read, once its writer has gone on."""

import asyncio
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrepot.registry.errors import StorageError
from entrepot.registry.events import PullEvent
from entrepot.storage.pull_events import PullLog, SegmentFiles, encode
from tests.support.pulls import a_pull, apart


def everything(segments: SegmentFiles) -> tuple[list[PullEvent], int]:
    """The events of all finished segments in the order of their times, and how many records were torn."""
    events: list[PullEvent] = []
    torn = 0
    for segment in segments.look().finished:
        position, last = 0, False
        while not last:
            part = segments.read(segment, position)
            events += apart(part.events)
            torn += part.torn
            position, last = part.position, part.last
    return sorted(events, key=lambda event: event.at), torn


def files(data: Path) -> list[str]:
    """The names of the segments."""
    return sorted(path.name for path in (data / "pulls").glob("*"))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file grows over this size, in bytes: as on a full disk, the last write is cut off, then none succeeds."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_what_was_appended_is_read_once_its_writer_has_closed(tmp_path: Path) -> None:
    log, segments = PullLog(tmp_path), SegmentFiles(tmp_path)
    events = [a_pull(at=at) for at in range(1_000_000, 1_000_100)]
    for event in events:
        log.append(event)
    (growing,) = segments.look().growing
    assert segments.look().finished == []
    await log.close()
    assert segments.look() == ([growing], [])
    assert everything(segments) == (events, 0)


async def test_a_part_ends_with_a_record(tmp_path: Path) -> None:
    log = PullLog(tmp_path)
    events = [a_pull(at=at) for at in range(50)]
    for event in events:
        log.append(event)
    await log.close()
    for part in range(len(encode(events[-1])) + 1, 3 * len(encode(events[-1]))):
        assert everything(SegmentFiles(tmp_path, part=part)) == (events, 0)


async def test_nothing_to_write_is_no_segment(tmp_path: Path) -> None:
    log = PullLog(tmp_path)
    await log.sync()
    await log.close()
    assert not (tmp_path / "pulls").exists()


async def test_a_segment_ends_with_its_size_and_no_two_have_one_name(tmp_path: Path) -> None:
    logs = [PullLog(tmp_path, size=1), PullLog(tmp_path, size=1)]
    event = a_pull()
    for log in logs * 10:
        log.append(event)
    segments = SegmentFiles(tmp_path)
    assert len(files(tmp_path)) == 20
    assert segments.look().finished == []
    for log in logs:
        await log.sync()
    assert len(segments.look().finished) == 18
    for log in logs:
        await log.close()
    assert everything(segments) == ([event] * 20, 0)


async def test_a_segment_ends_with_its_time_when_nothing_more_comes(tmp_path: Path) -> None:
    log = PullLog(tmp_path, seconds=0)
    log.append(a_pull())
    await log.sync()
    assert len(SegmentFiles(tmp_path).look().finished) == 1
    await log.close()


async def test_the_log_is_kept_in_the_background(tmp_path: Path) -> None:
    log, segments = PullLog(tmp_path, seconds=0), SegmentFiles(tmp_path)
    log.append(a_pull())
    keeping = asyncio.create_task(log.keep())
    async with asyncio.timeout(30):
        while not segments.look().finished:
            await asyncio.sleep(0.05)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await log.close()


async def test_a_full_disk_loses_events_counts_them_and_spoils_no_other(tmp_path: Path) -> None:
    log, segments = PullLog(tmp_path, size=1), SegmentFiles(tmp_path)
    before, after = [a_pull() for _ in range(3)], [a_pull() for _ in range(3)]
    for event in before:
        log.append(event)
    with files_of_at_most(len(encode(a_pull())) // 2):
        for _ in range(4):
            log.append(a_pull())
        assert log.lost == 4
    for event in after:
        log.append(event)
    assert log.lost == 4
    await log.close()
    assert everything(segments) == (before + after, 0)


async def test_a_directory_that_cannot_be_made_loses_events_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "pulls").write_text("in the way")
    log = PullLog(tmp_path)
    log.append(a_pull())
    assert log.lost == 1
    await log.sync()
    (tmp_path / "pulls").unlink()
    log.append(a_pull())
    assert log.lost == 1
    await log.close()
    assert len(everything(SegmentFiles(tmp_path))[0]) == 1


async def test_wherever_a_segment_is_cut_off_the_records_before_are_read(tmp_path: Path) -> None:
    """As after a power cut."""
    log, segments = PullLog(tmp_path), SegmentFiles(tmp_path)
    events = [a_pull(at=at) for at in (1, 2)]
    for event in events:
        log.append(event)
    await log.close()
    (path,) = (tmp_path / "pulls").glob("*")
    content = path.read_bytes()
    whole = len(encode(events[0]))
    for end in range(len(content) - 1, -1, -1):
        path.write_bytes(content[:end])
        expected = events[:1] if end >= whole else []
        assert everything(segments) == (expected, int(end % whole > 1)), end


async def test_zeros_that_a_power_cut_has_left_are_skipped(tmp_path: Path) -> None:
    log = PullLog(tmp_path)
    event = a_pull()
    log.append(event)
    await log.close()
    (path,) = (tmp_path / "pulls").glob("*")
    content = path.read_bytes()
    path.write_bytes(content + bytes(5000) + content)
    for part in (1000, 100_000):
        assert everything(SegmentFiles(tmp_path, part=part)) == ([event, event], 0)


def test_one_at_a_time_has_its_turn(tmp_path: Path) -> None:
    one, other = SegmentFiles(tmp_path), SegmentFiles(tmp_path)
    with one.turn() as ours:
        assert ours
        with other.turn() as theirs:
            assert not theirs
    with other.turn() as theirs:
        assert theirs


def test_a_node_keeps_its_name(tmp_path: Path) -> None:
    one, other = SegmentFiles(tmp_path / "one"), SegmentFiles(tmp_path / "other")
    assert one.node() == one.node() == SegmentFiles(tmp_path / "one").node()
    assert one.node() != other.node()
    assert len(files(tmp_path / "one")) == 1


def test_a_name_that_a_crash_cut_short_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "pulls").mkdir()
    (tmp_path / "pulls" / "node").touch()
    name = SegmentFiles(tmp_path).node()
    assert name
    assert SegmentFiles(tmp_path).node() == name


def test_who_is_present_is_not_alone_and_who_is_alone_lets_nobody_in(tmp_path: Path) -> None:
    one, other = SegmentFiles(tmp_path), SegmentFiles(tmp_path)
    with one.present(), other.present(), one.alone() as alone:
        assert not alone
    entered = threading.Event()

    def enter() -> None:
        with other.present():
            entered.set()

    thread = threading.Thread(target=enter)
    with one.alone() as alone:
        assert alone
        thread.start()
        assert not entered.wait(0.1)
    thread.join()
    assert entered.is_set()


async def test_what_grows_is_read_up_to_what_was_appended_last(tmp_path: Path) -> None:
    log = PullLog(tmp_path)
    events = [a_pull(at=at) for at in range(1, 41)]
    segments, record = SegmentFiles(tmp_path, part=1000), len(encode(events[0]))
    position, read = 0, list[PullEvent]()
    for number, event in enumerate(events, 1):
        log.append(event)
        if number % 20:
            continue
        (segment,) = segments.look().growing
        last = False
        while not last:
            part = segments.read(segment, position, growing=True)
            read += apart(part.events)
            position, last = part.position, part.last
        assert read == events[:number]
    assert position >= 40 * record
    await log.close()
    assert segments.read(segment, position) == ([], 0, position, True)


@pytest.mark.parametrize("rest", [b"", bytes(100)], ids=["the end of the file", "zeros"])
async def test_what_is_half_appended_waits_until_it_is_whole(tmp_path: Path, rest: bytes) -> None:
    log, segments = PullLog(tmp_path), SegmentFiles(tmp_path)
    first, second = a_pull(at=1), a_pull(at=2, agent="one, [2]")
    log.append(first)
    (path,) = (tmp_path / "pulls").glob("*.events")
    segment, record = path.stem, encode(second)
    for copied in range(len(record)):
        path.write_bytes(encode(first) + record[:copied] + rest)
        part = segments.read(segment, 0, growing=True)
        assert (apart(part.events), part.torn, part.position, part.last) == ([first], 0, len(encode(first)), True)
    path.write_bytes(encode(first) + record + rest)
    assert apart(segments.read(segment, 0, growing=True).events) == [first, second]
    hole = record[:10] + bytes(5) + record[15:]
    path.write_bytes(encode(first) + hole + record + rest)
    assert apart(segments.read(segment, 0, growing=True).events) == [first]
    await log.close()


async def test_what_is_removed_is_gone_and_may_be_removed_again(tmp_path: Path) -> None:
    log, segments = PullLog(tmp_path), SegmentFiles(tmp_path)
    log.append(a_pull())
    await log.close()
    finished = segments.look().finished
    segments.remove(finished)
    segments.remove(finished)
    assert files(tmp_path) == []


async def test_a_segment_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    with SegmentFiles(tmp_path).turn(), pytest.raises(StorageError):
        SegmentFiles(tmp_path).read("not-there", 0)


async def test_a_child_process_keeps_no_segment_open(tmp_path: Path) -> None:
    """What is started while events are written must not look like their writer."""
    log, segments = PullLog(tmp_path), SegmentFiles(tmp_path)
    log.append(a_pull())
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
    await log.close()
    try:
        assert len(segments.look().finished) == 1
    finally:
        child.kill()
        await child.wait()
    assert os.listdir(tmp_path) == ["pulls"]
