"""A hash table of rings in a memory map: a slot of 272 bytes for each subject and window.

    header      64 bytes: a magic word, then whether another file has taken this one's place

    slot        4 words     the subject's hash, zeros in a slot that was never used
                2 words     the index of the newest bucket
                1 word      the window in seconds
                1 word      the sum of the counts
                60 words    a count for each bucket

A count is one word, so there is no half of it, and a slot is emptied before it is named. The sum goes first: whoever is
killed between the two has counted one too much, until the sum is made anew with the next bucket; never one too few.
"""

import mmap
from collections.abc import Iterator

from entrepot.counters.window import BUCKETS, advance, bucket_at

MAGIC = b"entrepot pulls 1"
HASH = 16
"""Bytes of a subject's hash."""

_HEADER = 64  # bytes
_MOVED = 4  # the word of the header after the magic
_WORD = 4  # bytes
_NEWEST, _WINDOW, _SUM, _RING = 4, 6, 7, 8  # words of a slot
_SLOT = _RING + BUCKETS
_LONGEST_PROBE = 64  # slots that are looked at before the table counts as full
_NOBODY = bytes(HASH)


def size_of(slots: int) -> int:
    """Bytes of a table with so many slots."""
    return _HEADER + slots * _SLOT * _WORD


def is_size(size: int) -> bool:
    """Whether a table can have so many bytes."""
    return size > _HEADER and (size - _HEADER) % (_SLOT * _WORD) == 0


class Full(Exception):
    """There is no slot near where this subject belongs."""


class Table:
    """One map. Whoever uses it holds the lock."""

    def __init__(self, map_: mmap.mmap) -> None:
        self._map = map_
        self._bytes = memoryview(map_)
        self._words = self._bytes.cast("I")
        self.slots = (len(map_) - _HEADER) // (_SLOT * _WORD)

    @property
    def moved(self) -> bool:
        """Whether another file has taken this one's place."""
        return bool(self._words[_MOVED])

    @moved.setter
    def moved(self, value: bool) -> None:
        """Say so, to all who have it mapped."""
        self._words[_MOVED] = int(value)

    def find(self, key: bytes) -> int | None:
        """Where a subject is."""
        for place in self._probe(key):
            found = self._key(place)
            if found == key:
                return place
            if found == _NOBODY:
                return None
        return None

    def take(self, key: bytes, window: int, index: int, now: float) -> int:
        """A slot for a new subject, one that was never used or whose window is over; Full when there is none."""
        for place in self._probe(key):
            if self._key(place) == _NOBODY or self.over(place, now):
                start = place * _WORD
                self._bytes[start : start + _SLOT * _WORD] = bytes(_SLOT * _WORD)
                self._words[place + _WINDOW] = window
                self._set_newest(place, index)
                self._bytes[start : start + HASH] = key
                return place
        raise Full

    def used(self, place: int, index: int) -> int:
        """How many are counted in the window that ends with the bucket `index`."""
        words = self._words
        newest = words[place + _NEWEST] << 32 | words[place + _NEWEST + 1]
        if newest != index:
            ring = self.ring(place)
            advance(ring, newest, index)
            words[place + _SUM] = sum(ring)
            self._set_newest(place, index)
        return words[place + _SUM]

    def count(self, place: int, index: int, pulls: int = 1) -> None:
        """Some more, in a slot that `used` has brought to this bucket."""
        self._words[place + _SUM] += pulls
        self._words[place + _RING + index % BUCKETS] += pulls

    def give_back(self, place: int, index: int, pulls: int) -> None:
        """Some less, in the bucket `index`, unless it has left the window."""
        bucket = place + _RING + index % BUCKETS
        if 0 <= self._newest(place) - index < BUCKETS and self._words[bucket] >= pulls:
            self._words[bucket] -= pulls
            self._words[place + _SUM] -= pulls

    def ring(self, place: int) -> memoryview:
        """The buckets of a slot."""
        return self._words[place + _RING : place + _SLOT]

    def is_at(self, place: int, key: bytes) -> bool:
        """Whether this is the slot of a subject."""
        return self._map[place * _WORD : place * _WORD + HASH] == key

    def living(self, now: float) -> Iterator[bytes]:
        """Every slot that still counts, as bytes."""
        for slot in range(self.slots):
            place = _HEADER // _WORD + slot * _SLOT
            if self._key(place) != _NOBODY and not self.over(place, now):
                yield bytes(self._bytes[place * _WORD : (place + _SLOT) * _WORD])

    def put(self, slot: bytes) -> None:
        """Put a slot of another table in; Full when there is no place for it."""
        for place in self._probe(slot[:HASH]):
            if self._key(place) == _NOBODY:
                self._bytes[place * _WORD : (place + _SLOT) * _WORD] = slot
                return
        raise Full

    def over(self, place: int, now: float) -> bool:
        """Whether everything that a slot has counted has left its window."""
        window = self._words[place + _WINDOW]
        return not window or abs(bucket_at(now, window) - self._newest(place)) >= BUCKETS

    def close(self) -> None:
        """Let go of the map."""
        self._words.release()
        self._bytes.release()
        self._map.close()

    def _probe(self, key: bytes) -> Iterator[int]:
        first = int.from_bytes(key[:8])
        for step in range(min(_LONGEST_PROBE, self.slots)):
            yield _HEADER // _WORD + (first + step) % self.slots * _SLOT

    def _key(self, place: int) -> bytes:
        return self._map[place * _WORD : place * _WORD + HASH]

    def _newest(self, place: int) -> int:
        return self._words[place + _NEWEST] << 32 | self._words[place + _NEWEST + 1]

    def _set_newest(self, place: int, index: int) -> None:
        self._words[place + _NEWEST] = index >> 32
        self._words[place + _NEWEST + 1] = index & 0xFFFFFFFF
