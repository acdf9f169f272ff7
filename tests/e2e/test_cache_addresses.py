"""A registry on the internet cannot make the cache ask a host of the private network, which only the cache can reach.

On a machine whose own address is a public one, an upstream stands at that address, and another server on the loopback.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.support.machine import Machine
from tests.support.scripted_upstream import Script, Upstream, scripted_upstream
from tests.support.server import Registry, start_registry
from tests.support.serving import digest_of
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.needs("ip", "curl")

PUBLIC, PORT = "11.22.33.44", 5000
PRIVATE = f"http://127.0.0.1:{PORT}"


@dataclass(frozen=True)
class Scene:
    """The cache, and the scripts of the upstream and of the server in the private network."""

    cache: Registry
    outside: Script
    inside: Script


@pytest.fixture(scope="module")
def running() -> Iterator[Scene]:
    """All of it."""
    with ExitStack() as stack:
        machine = stack.enter_context(Machine(PUBLIC))
        outside, inside = (stack.enter_context(scripted_upstream()) for _ in range(2))
        for upstream, address in ((outside, PUBLIC), (inside, "127.0.0.1")):
            stack.enter_context(_reached_at(machine, upstream, address))
        url = {"url": f"http://{PUBLIC}:{PORT}"}
        configured = {"public.example": url, "known.example": {**url, "token_hosts": ["127.0.0.1"]}}
        cache = start_registry(machine, "cache", settings={"ENTREPOT_UPSTREAMS": json.dumps(configured)})
        yield Scene(cache, outside.script, inside.script)


@pytest.fixture
def scene(running: Scene) -> Scene:
    """Nothing is pushed, asked or redirected yet."""
    for script in (running.outside, running.inside):
        script.reset()
    return running


def _reached_at(machine: Machine, upstream: Upstream, address: str) -> TcpProxy:
    url = urlsplit(upstream.url)
    assert url.hostname is not None
    assert url.port is not None
    return TcpProxy(url.hostname, url.port, machine.listen(PORT, address))


def test_no_redirect_of_a_public_registry_leads_into_the_private_network(scene: Scene) -> None:
    layer = os.urandom(100)
    digest = digest_of(layer)
    manifest = scene.outside.push("v1", layer)
    scene.inside.push("v1", layer)
    scene.outside.manifests_at = PRIVATE
    refused = scene.cache.manifest("public.example/app", "v1")
    assert (refused.status, b"which is in a private network" in refused.body) == (502, True)
    scene.outside.manifests_at = ""
    assert scene.cache.manifest("public.example/app", "v1").body == manifest
    scene.outside.blobs_at = PRIVATE
    refused = scene.cache.request("GET", f"/v2/public.example/app/blobs/{digest}")
    assert (refused.status, b"which is in a private network" in refused.body) == (502, True)
    assert scene.inside.asked == Counter()
    scene.outside.blobs_at = ""
    assert scene.cache.request("GET", f"/v2/public.example/app/blobs/{digest}").body == layer


def test_a_token_service_in_the_private_network_is_asked_only_if_it_is_named_in_token_hosts(scene: Scene) -> None:
    manifest = scene.outside.push("v1", os.urandom(100))
    scene.outside.token = scene.inside.token = "a token"
    scene.outside.realm = f"{PRIVATE}/token"
    refused = scene.cache.manifest("public.example/other", "v1")
    assert (refused.status, b"which is in a private network" in refused.body) == (502, True)
    assert scene.inside.asked == Counter()
    assert scene.cache.manifest("known.example/other", "v1").body == manifest
    assert scene.inside.asked == Counter({("GET", "/token"): 1})
