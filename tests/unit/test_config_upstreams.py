"""The configuration of upstreams, and of what makes a server a mirror."""

from pathlib import Path

import pytest

from entrepot.config import ConfigError, load


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{docker.io: {fresh: soon}}", "docker.io: fresh: "),
        ("{docker.io: {urls: x}}", "docker.io: urls: there is no such key"),
        ("{docker.io: {}, index.docker.io: {}}", "docker.io stands twice"),
        ("{ghcr.io: {username: bot}}", "ghcr.io: username needs password"),
        ("{library: {}}", "'library' cannot be an alias"),
        ("{team: {url: https://registry.example}}", "'team' cannot be an alias"),
        ("[docker.io]", "upstreams: not a group"),
    ],
)
def test_an_upstream_that_cannot_be_is_refused_with_its_name(tmp_path: Path, written: str, words: str) -> None:
    written_file = tmp_path / "entrepot.yaml"
    written_file.write_text(f"upstreams: {written}\n")
    for file, environment in ((written_file, {}), (None, {"ENTREPOT_UPSTREAMS": written})):
        with pytest.raises(ConfigError) as refused:
            load(file, environment, {})
        assert words in str(refused.value)


def test_what_makes_registry_2_a_mirror_makes_the_whole_server_one() -> None:
    environment = {"REGISTRY_PROXY_REMOTEURL": "https://registry-1.docker.io", "ENTREPOT_HTTP__LISTEN": "0.0.0.0:5000"}
    settings = load(None, environment, {}).settings
    (upstream,) = settings.upstreams
    assert (upstream.upstream.alias, upstream.upstream.url) == ("docker.io", "https://registry-1.docker.io")
    assert (settings.mirror.upstream, settings.mirror.everywhere, settings.open) == ("docker.io", True, True)


def test_a_mirror_of_a_container_beside_it_has_an_alias_too() -> None:
    (upstream,) = load(None, {"REGISTRY_PROXY_REMOTEURL": "http://registry:5000"}, {}).settings.upstreams
    assert (upstream.upstream.alias, upstream.upstream.url) == ("registry.mirror", "http://registry:5000")


def test_a_mirror_shows_nothing_that_needs_a_password() -> None:
    environment = {"ENTREPOT_MIRROR__EVERYWHERE": "true", "ENTREPOT_UPSTREAMS": "{docker.io: {read: accounts}}"}
    with pytest.raises(ConfigError, match="which a mirror would show to everybody"):
        load(None, environment, {})
