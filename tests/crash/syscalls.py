"""What a program asked the kernel, in order: a trace of `strace -f -y -s`, taken apart."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import dirname
from pathlib import Path

STRACE = (
    "strace", "-f", "-y", "-s", "32", "--seccomp-bpf", "-e",
    "trace=fsync,fdatasync,write,writev,pwrite64,copy_file_range,sendto,sendmsg,openat,mkdir,rename",
)  # fmt: skip
"""The command line, but for `-o FILE` and the program."""

_WRITES = ("write", "writev", "pwrite64")
_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)")
_UNFINISHED = "<unfinished ...>"
_RESULT = re.compile(r"= (?P<result>-?\d+)[^=]*$")
_DESCRIPTOR = re.compile(r"\d+<(?P<path>[^>]*)>")
_STRING = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Call:
    """A system call that succeeded. `begun` and `ended` are places in the trace: one call may end before another began.

    `path`: the file it wrote, synced or made, or the socket it sent to; `text` the first string among its arguments.
    """

    name: str
    path: str
    text: str
    begun: int
    ended: int

    @property
    def is_answer(self) -> bool:
        """Whether it sent the head of an HTTP answer."""
        return self.text.startswith("HTTP/1.1 ")


class Trace:
    """All calls of a program and its threads, by the order in which they ended."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = tuple(calls)

    @classmethod
    def read(cls, file: Path) -> "Trace":
        """The trace that strace wrote."""
        return cls(list(_calls(file.read_text(errors="replace").splitlines())))

    def answers(self) -> list[Call]:
        """Every write of the head of an HTTP answer."""
        return [call for call in self.calls if call.is_answer]

    def writes(self, path: str) -> list[Call]:
        """Every call that put bytes into a file."""
        return [call for call in self.calls if call.path == path and call.name in (*_WRITES, "copy_file_range")]

    def synced(self, path: str, after: int, before: int) -> Call | None:
        """The first sync of a file or directory that began after one place and ended before another."""
        for call in self.calls:
            if call.name in ("fsync", "fdatasync") and call.path == path and after < call.begun and call.ended < before:
                return call
        return None

    def made(self, path: str) -> Call | None:
        """The call that made a file or directory, if it was made while this trace was taken."""
        made = [call for call in self.calls if call.path == path and call.name in ("mkdir", "create", "rename")]
        return made[0] if made else None

    def excerpt(self, after: int, before: int, below: str) -> str:
        """The calls in between that touch files below a directory, or answer: what a failure shows."""
        lines: list[tuple[str, int]] = []
        for call in self.calls:
            if after <= call.begun and call.ended <= before and (call.path.startswith(below) or call.is_answer):
                line = call.text if call.is_answer else f"{call.name} {call.path.removeprefix(below)}"
                count = lines.pop()[1] if lines and lines[-1][0] == line else 0
                lines.append((line, count + 1))
        return "\n".join(line if count == 1 else f"{line} ({count} times)" for line, count in lines)


def why_lost(trace: Trace, file: str, answer: Call) -> list[str]:
    """Why the file might be gone or cut after a power cut that follows the answer; empty when it cannot be."""
    writes = [call for call in trace.writes(file) if call.begun < answer.begun]
    lacks = []
    if trace.synced(file, max((call.ended for call in writes), default=-1), answer.begun) is None:
        lacks.append(f"{file} is not synced between its last write and the answer")
    while (made := trace.made(file)) is not None:
        file = dirname(file)
        if trace.synced(file, made.ended, answer.begun) is None:
            lacks.append(f"{file} is not synced between {made.name} of {made.path} and the answer")
    return lacks


def _calls(lines: Sequence[str]) -> Iterator[Call]:
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        name, rest, start = match["name"] or match["resumed"], match["rest"], number
        if rest.endswith(_UNFINISHED):
            begun[match["pid"]] = number, name, rest.removesuffix(_UNFINISHED)
            continue
        if match["resumed"]:
            if match["pid"] not in begun:
                continue
            start, name, first = begun.pop(match["pid"])
            rest = first + rest
        result = _RESULT.search(rest)
        if result is not None and int(result["result"]) >= 0:
            yield _call(name, rest, start, number)


def _call(name: str, rest: str, begun: int, ended: int) -> Call:
    paths = [found["path"] for found in _DESCRIPTOR.finditer(rest)]
    strings = [found["text"] for found in _STRING.finditer(rest)]
    text = strings[0] if strings else ""
    match name:
        case "openat":
            return Call("create" if "O_CREAT" in rest else name, paths[-1], "", begun, ended)
        case "mkdir":
            return Call(name, text, "", begun, ended)
        case "rename":
            return Call(name, strings[1], "", begun, ended)
        case "copy_file_range":
            return Call(name, paths[1], "", begun, ended)
        case _:
            return Call(name, paths[0] if paths else "", text, begun, ended)
