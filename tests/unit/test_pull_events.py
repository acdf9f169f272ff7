"""The pull event as a record, and events counted together."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.hub.tally import HOUR, Counted, agent_family, tally
from entrepot.registry.events import PullEvent
from entrepot.storage.pull_events import AGENT_MAX, decode, encode
from tests.support.pulls import a_pull, alike

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # with control characters and lone surrogates
HOSTILE = [
    '","192.0.2.9","x",1,1]\n[7,"sha256:f","v","image",1,1,"","",1,1]',
    "\n[7,2]\n",
    "\r\n\0\x1b[2J",
    "\udcff\udc80",
    "\\",
    '\\"',
    "\u2028\u2029\x85",
    "\U0001f433" * AGENT_MAX,
]


@given(agent=ANY_TEXT, address=ANY_TEXT, tag=ANY_TEXT)
def test_whatever_a_client_says_an_event_is_one_record_of_ascii(agent: str, address: str, tag: str) -> None:
    record = encode(a_pull(agent=agent, address=address, tag=tag))
    assert record.isascii()
    assert record.count(b"\n") == 1
    assert record.startswith(b"\n")
    assert len(json.loads(record)) == len(PullEvent._fields)


@pytest.mark.parametrize("agent", HOSTILE)
def test_a_hostile_user_agent_forges_nothing(agent: str) -> None:
    event = a_pull(agent=agent)
    found = decode(encode(event)[1:])
    assert found is not None
    assert found._replace(agent="") == event._replace(agent="")
    assert found.agent.isprintable()
    assert len(found.agent) <= AGENT_MAX


@pytest.mark.parametrize("nobody", [True, False])
def test_an_event_is_read_as_it_was_written(nobody: bool) -> None:
    event = a_pull(agent="docker/27.3.1 (linux) ünïcode", tag="")
    if nobody:
        event = event._replace(account_id=None, credential_id=None)
    assert decode(encode(event)[1:]) == event


def test_no_beginning_of_a_record_is_an_event() -> None:
    record = encode(a_pull())[1:]
    assert decode(record) is not None
    assert [end for end in range(len(record)) if decode(record[:end]) is not None] == []


@pytest.mark.parametrize(
    "record",
    [
        *(b"", b"\0" * 100, b"[]", b"7", b"{}", b"[1,2,3]", b"\xff\xfe", b"[" * 100_000),
        b'[true,"","","",0,0,"","",0,0]',
        b'[-1,"","","",0,0,"","",0,0]',
        b'[1,"","","",0,0,"","",0,99999999999999999999]',
    ],
    ids=lambda record: str(record[:12]),
)
def test_what_is_no_event_is_none(record: bytes) -> None:
    assert decode(record) is None


def test_events_of_an_hour_are_counted_together() -> None:
    events = [
        a_pull(at=5 * HOUR + 7, bytes=10, agent="docker/27.3"),
        a_pull(at=5 * HOUR + 2, bytes=10, agent="docker/28.0"),
        a_pull(at=6 * HOUR - 1, bytes=10, agent="docker/27.3"),
        a_pull(at=6 * HOUR, bytes=10, agent="docker/27.3"),
    ]
    counted = tally(alike(*events))
    assert sorted((key.hour, value) for key, value in counted.hours.items()) == [
        (5 * HOUR, Counted(3, 30, 5 * HOUR + 2, 6 * HOUR - 1)),
        (6 * HOUR, Counted(1, 10, 6 * HOUR, 6 * HOUR)),
    ]
    assert counted.repositories == {1: (4, 6 * HOUR)}


def test_indexes_are_requests_and_no_pulls() -> None:
    counted = tally(alike(a_pull(kind="index", at=9), a_pull(kind="image", at=5)))
    assert counted.repositories == {1: (1, 9)}
    assert sorted(key.kind for key in counted.hours) == ["image", "index"]


@pytest.mark.parametrize(
    ("agent", "family"),
    [
        ("docker/27.3.1 go/go1.22.7 os/linux UpstreamClient(Docker-Client/27.3.1)", "docker"),
        ("containerd/v1.7.22", "containerd"),
        ("containers/5.29.2 (github.com/containers/image)", "containers"),
        ("Go-http-client/1.1", "go-http-client"),
        ("regclient/regctl (v0.7.1)", "regclient"),
        ("curl", "curl"),
        ("", ""),
        ("/", "other"),
        ("=cmd|' /C calc'!A0", "other"),
        ("x" * 41, "other"),
        ("näme/1", "other"),
    ],
)
def test_the_family_of_a_client_is_its_name(agent: str, family: str) -> None:
    assert agent_family(agent) == family
