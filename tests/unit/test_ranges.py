"""Ranges of downloads and of upload chunks, against an oracle that takes them apart by hand."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.registry.errors import RangeInvalid
from entrepot.registry.uploads import Span
from entrepot.web.v2.ranges import Unsatisfiable, download_spans, upload_span

examples = settings(max_examples=500, derandomize=True, deadline=None)
NUMBERS = st.one_of(st.integers(0, 12), st.sampled_from([2**32, 2**63 - 1, 2**64 - 1, 10**39])).map(str)
PARTS = st.one_of(
    st.tuples(NUMBERS, NUMBERS).map("-".join),
    NUMBERS.map("{}-".format),
    NUMBERS.map("-{}".format),
    st.sampled_from(["", "-", "a-b", "1", "--1", "1--", "+1-2", "1-2-3", "٣-٤", " 1-2 ", "0x1-2"]),
)
HEADERS = st.one_of(
    st.tuples(
        st.sampled_from(["bytes=", "Bytes=", "lines=", "bytes", "", "bytes =", "="]), st.lists(PARTS, max_size=5)
    ).map(lambda pair: pair[0] + ",".join(pair[1])),
    st.text("bytes=0123,- ", max_size=20),
)


def is_number(text: str) -> bool:
    return text != "" and set(text) <= set("0123456789")


def expected(header: str, size: int) -> list[bytes] | str | None:
    """The pieces of a body of `size` different bytes; "none" when no byte is there; None for the whole."""
    body = bytes(range(size))
    if header.split("=")[0].strip().lower() != "bytes" or "=" not in header:
        return None
    texts = [text.strip() for text in header.split("=", 1)[1].split(",") if text.strip()]
    pieces: list[bytes] = []
    for text in texts:
        first, dash, last = text.partition("-")
        if not dash or not (first or last) or any(part and not is_number(part) for part in (first, last)):
            return None
        if not first:
            piece = body[-int(last) :] if int(last) else b""
        else:
            piece = body[int(first) : int(last) + 1] if last else body[int(first) :]
        if piece:
            pieces.append(piece)
    if not texts:
        return None
    if not pieces:
        return "none"
    return pieces if sum(map(len, pieces)) <= size else None


@examples
@given(HEADERS, st.integers(0, 10))
@example("bytes=500-0", 10)
@example("bytes=-0", 10)
@example("bytes=-0", 0)
@example("bytes=0-,0-", 10)
@example("bytes=0-18446744073709551615", 10)
def test_a_download_range_means_what_it_says(header: str, size: int) -> None:
    wanted = expected(header, size)
    body = bytes(range(size))
    if wanted == "none":
        with pytest.raises(Unsatisfiable):
            download_spans(header, size)
        return
    spans = download_spans(header, size)
    found = None if spans is None else [body[first : first + length] for first, length in spans]
    assert found == wanted
    assert spans is None or all(length > 0 for _, length in spans)


def test_too_many_ranges_or_digits_get_the_whole() -> None:
    assert download_spans("bytes=" + ",".join(f"{n}-{n}" for n in range(65)), 1000) is None
    assert download_spans(f"bytes=0-{'9' * 5000}", 10) is None


@examples
@given(
    st.sampled_from(["", "bytes ", "bytes=", "Bytes ", "lines "]),
    st.one_of(NUMBERS, st.text("01a-", max_size=3)),
    st.sampled_from(["-", "", "–", "--"]),
    st.one_of(NUMBERS, st.text("01a-", max_size=3)),
    st.sampled_from(["", "/*", "/12", "x", " "]),
)
def test_a_content_range_means_what_it_says(unit: str, first: str, dash: str, last: str, total: str) -> None:
    text = f"{unit}{first}{dash}{last}{total}"
    start, _, end = text.strip().removeprefix("bytes ").removeprefix("bytes=").partition("/")[0].partition("-")
    good = unit in ("", "bytes ", "bytes=") and is_number(start) and is_number(end)
    if good and len(start) <= 18 and len(end) <= 18 and int(start) <= int(end):
        assert upload_span(text) == Span(int(start), int(end) - int(start) + 1)
    else:
        with pytest.raises(RangeInvalid):
            upload_span(text)


def test_without_a_header_there_is_no_range() -> None:
    assert upload_span(None) is None
    assert download_spans(None, 10) is None
