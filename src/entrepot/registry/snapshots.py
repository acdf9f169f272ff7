"""A snapshot of all rows as a file: what a backup keeps of a database, whichever engine it is.

It is gzip over lines of JSON. The first says of which version the tables are, then each table's name and columns come
before its rows, and the last counts the rows: what has no last line was cut off and is no snapshot.
"""

import gzip
import json
import zlib
from base64 import b64decode, b64encode
from binascii import Error as BinasciiError
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from entrepot.registry.errors import StorageError

_FORMAT = 1
_LEVEL = 6  # of gzip: rows of manifests shrink to a sixth; a higher level takes longer than it saves


class Table(NamedTuple):
    """The rows that follow are of this table."""

    name: str
    columns: Sequence[str]


class Sequencer(NamedTuple):
    """The last id that a table has given, whether or not its row is still there: no id is given twice."""

    table: str
    last: int


Row = tuple[Any, ...]
Entry = Table | Sequencer | Row


class SnapshotWriter:
    """Writes a file. It is a snapshot only when the block ends without an error."""

    def __init__(self, path: Path, schema: str) -> None:
        """`schema`: the version of the tables."""
        self._file = gzip.open(path, "wt", _LEVEL, encoding="utf-8", newline="\n")  # noqa: SIM115
        self._rows = 0
        self._line({"entrepot": "snapshot", "format": _FORMAT, "schema": schema})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self._line({"end": self._rows})
        self._file.close()

    def table(self, name: str, columns: Sequence[str]) -> None:
        """Rows of this table come next."""
        self._line({"table": name, "columns": list(columns)})

    def row(self, values: Sequence[Any]) -> None:
        """One row: integers, texts, bytes, nothing."""
        self._rows += 1
        self._line([{"b64": b64encode(value).decode()} if isinstance(value, bytes) else value for value in values])

    def sequence(self, table: str, last: int) -> None:
        """The last id that a table has given."""
        self._line({"sequence": table, "last": last})

    def _line(self, value: object) -> None:
        self._file.write(json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n")


class SnapshotFile:
    """Reads a file. Whatever is wrong with it is StorageError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(self._lines(), None)
        if not isinstance(first, dict) or first.get("entrepot") != "snapshot" or first.get("format") != _FORMAT:
            raise StorageError(f"{path.name} is no snapshot that this program can read")
        self.schema = str(first["schema"])

    def entries(self) -> Iterator[Entry]:
        """What is in it, in order; StorageError at the end when it was cut off."""
        rows = -1
        count = 0
        for line in self._lines():
            if isinstance(line, list):
                count += 1
                yield tuple(b64decode(each["b64"]) if isinstance(each, dict) else each for each in line)
            elif "table" in line:
                yield Table(line["table"], line["columns"])
            elif "sequence" in line:
                yield Sequencer(line["sequence"], line["last"])
            elif "end" in line:
                rows = line["end"]
        if rows != count:
            raise StorageError(f"{self._path.name} is not whole: {count} rows, and no end")

    def rows_of(self, table: str, *columns: str) -> Iterator[Row]:
        """These columns of a table's rows."""
        places: list[int] | None = None
        for entry in self.entries():
            if isinstance(entry, Table):
                places = [entry.columns.index(each) for each in columns] if entry.name == table else None
            elif places is not None and not isinstance(entry, Sequencer):
                yield tuple(entry[place] for place in places)

    def _lines(self) -> Iterator[Any]:
        try:
            with gzip.open(self._path, "rt", encoding="utf-8", newline="\n") as file:
                for line in file:
                    yield json.loads(line)
        except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError, BinasciiError) as error:
            raise StorageError(f"{self._path.name} is not whole, or no snapshot: {error}") from None
