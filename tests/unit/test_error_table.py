"""The one table of errors: complete, and in the words of the specification."""

from collections.abc import Iterator

import pytest

from entrepot.registry.errors import BodyTimedOut, RegistryError, UploadOutOfOrder
from entrepot.web.metrics import STATUSES
from entrepot.web.v2.errors import TABLE, answer

CODES = {
    "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED",
    "UNSUPPORTED", "TOOMANYREQUESTS",
}  # fmt: skip
"""distribution-spec, "Error codes"."""
DISTRIBUTIONS = {"UNKNOWN", "UNAVAILABLE", "PAGINATION_NUMBER_INVALID"}
"""Codes of docker-registry that clients know too."""


def every(error: type[RegistryError] = RegistryError) -> Iterator[type[RegistryError]]:
    yield error
    for below in error.__subclasses__():
        yield from every(below)


@pytest.mark.parametrize("error", list(every()))
def test_every_error_has_a_row_a_known_code_and_a_sentence(error: type[RegistryError]) -> None:
    wire = TABLE[error]
    assert wire.code in CODES | DISTRIBUTIONS
    assert 400 <= wire.status < 600
    assert str(wire.status) in STATUSES, "the metrics must know it"
    assert error.__doc__


def test_the_table_has_no_other_rows() -> None:
    assert set(TABLE) == set(every())


@pytest.mark.parametrize("error", list(every()))
def test_an_error_without_a_message_says_what_it_is(error: type[RegistryError]) -> None:
    made = error("x", 0, "") if error in (UploadOutOfOrder, BodyTimedOut) else error()
    found = answer(made)
    assert found.status == TABLE[error].status
    assert (error.__doc__ or "").split()[0].encode() in found.body
    assert (b"retry-after" in dict(found.headers)) == (found.status in (429, 503, 507))
