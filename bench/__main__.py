"""`python -m bench`: measure every server in turn, over several rounds, and print one table."""

import argparse
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench import pulls, pushes, table
from bench.content import KIB, MIB, Block, random_blob, small_image
from bench.plan import ROWS, SERVERS
from bench.rows import QUICK, Load, Measurement, Row, Scale
from bench.servers import Seed, Server, ServerError
from bench.wire import WireError

_FIRST_PORT = 15300
_PORTS_A_SERVER = 5  # the server's own, and those of the services that it starts


class Run:
    """One run: its directory, its load, what it has read so far."""

    def __init__(self, directory: Path, scale: Scale, servers: Sequence[type[Server]]) -> None:
        self.results: defaultdict[tuple[str, type[Server]], list[Measurement]] = defaultdict(list)
        self._directory = directory
        self._servers = servers
        self._starts = count()
        block = Block()
        source = random.Random(0)
        small, medium = random_blob(4 * KIB, source), random_blob(MIB, source)
        seed = Seed(small_image(source), small, medium, block.large_blob(pushes.LARGE))
        self._load = Load(seed, block, scale)

    def in_rounds(self, rows: Sequence[Row], rounds: int) -> None:
        """Measure these rows `rounds` times: each row on every server, starting with another each round."""
        with ExitStack() as running:
            wanted = [kind for kind in self._servers if any(kind in row.servers for row in rows)]
            servers = [self._start(kind, running) for kind in wanted]
            for server in servers:
                server.seed(self._load.seed)
            for number in range(rounds):
                for row in rows:
                    for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
                        if type(server) in row.servers:
                            self._measure(row, server, f"round {number + 1}")

    def alone(self, row: Row) -> None:
        """Measure a row once on each of its servers, freshly started, with nothing else running."""
        for kind in self._servers:
            if kind in row.servers:
                with ExitStack() as running:
                    self._measure(row, self._start(kind, running), "alone")

    def _start(self, kind: type[Server], running: ExitStack) -> Server:
        number = next(self._starts)
        directory = self._directory / f"{number}-{kind.key}"
        running.callback(shutil.rmtree, directory, ignore_errors=True)
        server = kind(directory, _free_port(_FIRST_PORT + number * _PORTS_A_SERVER))
        running.callback(server.stop)
        return server.start()

    def _measure(self, row: Row, server: Server, when: str) -> None:
        began = time.perf_counter()
        reading = row.measure(server, self._load)
        self.results[row.key, type(server)].append(reading)
        _say(f"{when}: {row.key}, {server.name}: {table.summary(row, reading)} [{time.perf_counter() - began:.1f} s]")


def _free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on; so are, very likely, the few after it."""
    for port in count(first):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("count() does not end")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    rows, servers = [row.key for row in ROWS], [server.key for server in SERVERS]
    parser.add_argument("--only", action="append", choices=rows, metavar="ROW", help=f"measure only {', '.join(rows)}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each row is measured [3]")
    parser.add_argument("--quick", action="store_true", help="one round of little load: does it run, not how fast")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=servers,
        metavar="SERVER",
        help=f"leave out {', '.join(servers)}",
    )
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="the disk to measure on [/var/tmp]")
    return parser.parse_args(arguments)


def _installed(without: Sequence[str]) -> list[type[Server]]:
    """The servers to measure; for each that is not installed a line that says how to get it."""
    found = []
    for server in SERVERS:
        if server.key in without:
            continue
        if server.find() is None:
            _say(f"left out: {server.name} (get it: {server.install})")
            continue
        found.append(server)
    return found


def _spread_over_the_disk(directory: str) -> None:
    """Give each server's directory block groups of its own, where the file system is ext4 (others: no effect).

    Close to each other, the files that one server deletes slow the other's creations down for minutes: ext4 does not
    hand out a recently deleted inode again, and looks at each of them (Linux, fs/ext4/ialloc.c, recently_deleted).
    """
    subprocess.run(["chattr", "+T", directory], check=False, stderr=subprocess.DEVNULL)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # unwinds, so that every server is stopped and its data removed


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _end)
    if not pulls.wrk_is_installed():
        _say("missing: wrk (get it: apt-get install wrk)")
        return 1
    servers = _installed(options.without)
    rows = [row for row in ROWS if not options.only or row.key in options.only]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="entrepot-bench-", dir=options.directory) as directory:
        os.chmod(directory, 0o711)  # PostgreSQL, under its own user, passes through
        _spread_over_the_disk(directory)
        run = Run(Path(directory), QUICK if options.quick else Scale(), servers)
        try:
            run.in_rounds([row for row in rows if not row.alone], 1 if options.quick else options.rounds)
            for row in rows:
                if row.alone:
                    run.alone(row)
        except (ServerError, WireError, pulls.WrkError, OSError, subprocess.CalledProcessError) as error:
            _say(f"stopped: {error}")
            return 1
        finally:
            print(table.render(rows, run.results))
    if options.quick:
        print("\nA quick run, of an eighth of the load and less: it shows that the benchmark runs, and no speed.")
    print(table.legend(servers, os.cpu_count() or 1, platform.release(), time.perf_counter() - began))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
