"""The grammars of names, tags and digests, against oracles that read character by character."""

import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entrepot.oci.digest import Digest, InvalidDigest
from entrepot.oci.reference import InvalidName, InvalidTag, check_name, check_tag

LOWER = set(string.ascii_lowercase + string.digits)
ALPHANUMERIC = LOWER | set(string.ascii_uppercase)
SEPARATORS = re.compile("[a-z0-9]+")
NAMELIKE = st.one_of(st.text("aZ0._-/:", max_size=30), st.text(max_size=30), st.text("ab-", min_size=240, max_size=270))
examples = settings(max_examples=300, derandomize=True, deadline=None)


def is_name(text: str) -> bool:
    """distribution-spec: components of alphanumeric runs; between two runs '.', '_', '__', or any number of '-'."""
    return 0 < len(text) <= 255 and all(is_component(component) for component in text.split("/"))


def is_component(text: str) -> bool:
    separators = SEPARATORS.split(text)
    if len(separators) < 2 or separators[0] or separators[-1]:
        return False
    return all(between in {".", "_", "__"} or set(between) == {"-"} for between in separators[1:-1])


def is_tag(text: str) -> bool:
    """distribution-spec: a word character, then up to 127 of word characters, '.' and '-'."""
    word = ALPHANUMERIC | {"_"}
    return 0 < len(text) <= 128 and text[0] in word and set(text[1:]) <= word | {".", "-"}


@examples
@given(NAMELIKE)
@example("a\n")
@example("a/b\n")
@example("é")
@example("a" * 256)
@example("١")
def test_a_name_is_accepted_as_the_specification_says(text: str) -> None:
    if is_name(text):
        assert check_name(text) == text
    else:
        with pytest.raises(InvalidName) as refused:
            check_name(text)
        assert str(refused.value).isprintable()


@examples
@given(
    st.from_regex(r"[a-z0-9]{1,5}(-{1,3}[a-z0-9]{1,3})?(/[a-z0-9]{1,3}(__[a-z0-9])?){0,2}", fullmatch=True), st.data()
)
def test_a_name_with_upper_case_is_told_its_lower_case(name: str, data: st.DataObject) -> None:
    mixed = "".join(data.draw(st.sampled_from([character, character.upper()])) for character in name)
    if mixed == name:
        assert check_name(mixed) == name
        return
    with pytest.raises(InvalidName, match="must be lowercase: use '" + re.escape(name) + "'"):
        check_name(mixed)


@pytest.mark.parametrize("text", ["K", "İ", "ﬀ", "Ａ"])
def test_letters_that_lower_into_something_else_are_not_advised(text: str) -> None:
    with pytest.raises(InvalidName):
        check_name(text)


@examples
@given(st.one_of(st.text("aZ0._-:", max_size=10), st.text(max_size=10), st.text("a.", min_size=120, max_size=135)))
@example("a\n")
@example("٣")
def test_a_tag_is_accepted_as_the_specification_says(text: str) -> None:
    if is_tag(text):
        assert check_tag(text) == text
    else:
        with pytest.raises(InvalidTag):
            check_tag(text)


@st.composite
def digestlike(draw: st.DrawFn) -> str:
    algorithm = draw(st.sampled_from(["sha256", "sha512", "sha384", "SHA256", "blake3", "", "sha256+b64"]))
    length = draw(st.sampled_from([0, 63, 64, 65, 127, 128, 129]))
    character = draw(st.sampled_from("0af9AgF\n٣"))
    separator = draw(st.sampled_from([":", ":", ":", "-", "", "::"]))
    encoded = list("0123456789abcdef" * 9)[:length]
    if encoded:
        encoded[draw(st.integers(0, length - 1))] = character
    return algorithm + separator + "".join(encoded)


@examples
@given(st.one_of(digestlike(), st.text(max_size=80)))
@example("sha256:" + "0" * 64 + "\n")
def test_a_digest_is_accepted_as_the_specification_says(text: str) -> None:
    lengths = {"sha256": 64, "sha512": 128}
    algorithm, _, encoded = text.partition(":")
    if len(encoded) == lengths.get(algorithm) and set(encoded) <= set("0123456789abcdef"):
        assert str(Digest.parse(text)) == text
        assert Digest.parse(text) == Digest(algorithm, encoded)
    else:
        with pytest.raises(InvalidDigest):
            Digest.parse(text)


@examples
@given(st.binary(max_size=100), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_of_content_reads_back(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest
