"""Where a registry may send us: a host that an answer names is connected to only when its address is public."""

import asyncio
import contextlib
import socket
from itertools import cycle
from typing import Any

import httpcore2
import pytest

from entrepot.client.connections import Connections, PrivateAddress, Use, is_public

_PUBLIC, _OTHER, _INSIDE = "93.184.215.14", "151.101.1.7", "10.1.2.3"


def dial(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]], *hosts: str, trusted: str = "", proxy: str | None = ""
) -> list[str]:
    """Ask `hosts` in turn by the connections of https://hub.example, each for another use; returns the addresses that
    were connected to."""
    dialled: list[str] = []

    async def connect(self: object, host: str, *more: Any, **named: Any) -> httpcore2.AsyncNetworkStream:
        dialled.append(host)
        raise httpcore2.ConnectError("nobody is there")

    async def resolve(host: str, port: int, **more: Any) -> list[Any]:
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in names[host]]

    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
        connections = Connections("https://hub.example", [trusted], None, proxy)
        for host, use in zip(hosts, cycle(Use), strict=False):
            with contextlib.suppress(httpcore2.ConnectError):
                await connections.handle_async_request(httpcore2.Request("GET", f"http://{host}/"), use)
        await connections.aclose()

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    asyncio.run(run())
    return dialled


def test_a_public_host_that_an_answer_names_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"hub.example": [_PUBLIC], "cdn.example": [_OTHER]}
    assert dial(monkeypatch, names, "hub.example", "cdn.example") == [_PUBLIC, _OTHER]


@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "127.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0", "::1", "::", "fd00::1",
     "fe80::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "224.0.0.1", "ff02::1"],
)  # fmt: skip
def test_a_private_host_that_an_answer_names_is_not(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert not is_public(address)
    with pytest.raises(PrivateAddress, match=r"hub\.example sends us to evil\.example, which is in a private network"):
        dial(monkeypatch, {"hub.example": [_PUBLIC], "evil.example": [address]}, "hub.example", "evil.example")


def test_an_address_in_place_of_a_name_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrivateAddress):
        dial(monkeypatch, {"hub.example": [_PUBLIC], _INSIDE: [_INSIDE]}, "hub.example", _INSIDE)


def test_it_is_refused_before_the_own_host_was_ever_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrivateAddress):
        dial(monkeypatch, {"evil.example": [_INSIDE]}, "evil.example")


def test_of_a_host_with_both_only_the_public_address_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"hub.example": [_PUBLIC], "both.example": [_INSIDE, _OTHER]}
    assert dial(monkeypatch, names, "both.example") == [_OTHER]


def test_the_registry_itself_and_its_token_hosts_may_be_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"hub.example": [_INSIDE], "auth.example": ["192.168.7.7"]}
    assert dial(monkeypatch, names, "hub.example", "auth.example") == [_INSIDE, "192.168.7.7"]
    public = {"hub.example": [_PUBLIC], "auth.example": [_INSIDE]}
    assert dial(monkeypatch, public, "hub.example", "auth.example", trusted="Auth.Example") == [_PUBLIC, _INSIDE]


def test_a_registry_inside_may_send_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"hub.example": [_INSIDE], "blobs.example": ["10.9.9.9"]}
    assert dial(monkeypatch, names, "hub.example", "blobs.example") == [_INSIDE, "10.9.9.9"]


def test_what_cannot_be_resolved_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dial(monkeypatch, {}, "hub.example") == []


_PROXY = "http://proxy.example:3128"


def test_behind_a_proxy_a_private_host_is_refused_before_the_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"hub.example": [_PUBLIC], "evil.example": [_INSIDE], _INSIDE: [_INSIDE]}
    for host in ("evil.example", _INSIDE):
        with pytest.raises(PrivateAddress):
            dial(monkeypatch, names, "hub.example", host, proxy=_PROXY)


def test_behind_a_proxy_the_proxy_is_dialled_for_what_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"cdn.example": [_OTHER], "inner.example": [_INSIDE]}
    dialled = dial(monkeypatch, names, "hub.example", "cdn.example", "nowhere.example", proxy=_PROXY)
    assert dialled == ["proxy.example"] * 3, "names may be known to the proxy alone"
    inside = {"hub.example": [_INSIDE], "blobs.example": [_INSIDE]}
    assert dial(monkeypatch, inside, "hub.example", "blobs.example", proxy=_PROXY) == ["proxy.example"] * 2


def test_the_environment_says_which_hosts_are_reached_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", "cdn.example")
    names = {"hub.example": [_PUBLIC], "cdn.example": [_OTHER]}
    assert dial(monkeypatch, names, "hub.example", "cdn.example", proxy=None) == ["proxy.example", _OTHER]
    assert dial(monkeypatch, names, "hub.example", proxy="") == [_PUBLIC], "an upstream may say otherwise"
