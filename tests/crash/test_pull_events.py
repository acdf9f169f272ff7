"""SIGKILL at any moment loses no pull event that was appended, and ends its writer's hold on the segment."""

import random
import subprocess
import sys
import time
from pathlib import Path

from entrepot.registry.events import PullEvent
from entrepot.storage.pull_events import SegmentFiles
from tests.support.pulls import apart

_APPEND = """
import asyncio, os, sys
from pathlib import Path
from entrepot.storage.pull_events import PullLog
from tests.support.pulls import a_pull

async def append() -> None:
    log = PullLog(Path(sys.argv[1]), size=5000)
    keeping = asyncio.create_task(log.keep())
    for number in range(1, 10**9):
        log.append(a_pull(at=number))
        assert log.lost == 0
        os.write(1, b"%d\\n" % number)
        if number % 10 == 0:
            await asyncio.sleep(0)

asyncio.run(append())
"""


def _read(segments: SegmentFiles) -> tuple[list[PullEvent], int]:
    events: list[PullEvent] = []
    torn = 0
    for segment in segments.look().finished:
        position, last = 0, False
        while not last:
            part = segments.read(segment, position)
            events += apart(part.events)
            torn += part.torn
            position, last = part.position, part.last
    return events, torn


def test_a_killed_process_loses_no_event_that_it_had_appended(tmp_path: Path) -> None:
    for run in range(10):
        data = tmp_path / str(run)
        process = subprocess.Popen([sys.executable, "-c", _APPEND, str(data)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            for _ in range(100):
                assert process.stdout.readline()
            segments = SegmentFiles(data)
            assert segments.look().growing
            time.sleep(random.uniform(0, 0.2))  # the one wait that is the point: a moment that nobody chose
        finally:
            process.kill()
            told = process.stdout.read().split(b"\n")[:-1]
            process.wait()
            process.stdout.close()
        acknowledged = int(told[-1]) if told else 100
        events, torn = _read(segments)
        assert segments.look().growing == []
        assert torn <= 1, "the one that was being copied"
        numbers = sorted(event.at for event in events)
        assert numbers == list(range(1, len(numbers) + 1))
        assert acknowledged <= len(numbers)
        assert len(numbers) + torn <= acknowledged + 1
