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


def test_how_long_registry_2_keeps_something_is_how_long_it_is_kept_unused() -> None:
    environment = {"REGISTRY_PROXY_REMOTEURL": "https://registry-1.docker.io"}
    for written, seconds, warned in (("168h", 604800.0, 0), ("0", None, 0), ("0s", None, 0), ("1h30m", None, 1)):
        loaded = load(None, {**environment, "REGISTRY_PROXY_TTL": written}, {})
        assert (loaded.settings.upstreams[0].upstream.keep, len(loaded.warnings)) == (seconds, warned)


def test_credentials_are_of_repositories_and_the_upstreams_own_is_for_the_rest() -> None:
    written = (
        "{docker.io: {username: bot, password: x, fetch: [alice], credentials:"
        " [{username: a, password: x, repositories: [a/*], read: [acme/devs]},"
        " {helper: ecr-login, repositories: [b/*], read: everyone}]}}"
    )
    (hub,) = load(None, {"ENTREPOT_UPSTREAMS": written}, {}).settings.upstreams
    assert [hub.upstream.credential(path) for path in ("a/x", "b/x", "library/x")] == [0, 1, 2]
    assert [each.name for each in hub.upstream.credentials] == ["a", "ecr-login", "bot"]
    assert [each.read.word for each in hub.upstream.credentials] == ["named", "everyone", "accounts"]
    assert [login.helper for login in hub.logins] == ["", "ecr-login", ""]
    assert hub.upstream.fetch.names == ("alice",)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("helper: ../sh", "helper: it is what follows docker-credential-"),
        ("helper: x, username: a, password: b", "a helper gives the user name too"),
        ("read: [Alice]", "read: it is `everyone`, `accounts`, or a list"),
        ("proxy: proxy.internal:3128", "proxy: it is http(s)://HOST:PORT"),
        ("credentials: [{username: a, password: x}]", "say by `repositories` which ones it is for"),
        (
            "credentials: [{username: a, password: x, repositories: [a/*]},"
            " {username: a, password: y, repositories: [b]}]",
            "a stands twice",
        ),
        ("credentials: [{url: x}]", "credentials: url: there is no such key"),
        ("fresh: 5m stale-while-revalidate soon", "fresh: "),
    ],
)
def test_a_login_that_cannot_be_is_refused(keys: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {"ENTREPOT_UPSTREAMS": f"{{docker.io: {{{keys}}}}}"}, {})
    assert words in str(refused.value)


def test_an_open_registry_shows_nothing_that_is_not_for_everyone() -> None:
    environment = {"ENTREPOT_OPEN": "true", "ENTREPOT_UPSTREAMS": "{docker.io: {username: a, password: b}}"}
    with pytest.raises(ConfigError, match="write `read: everyone` there if that is meant"):
        load(None, environment, {})


def test_the_token_services_of_known_registries_may_be_given_their_passwords() -> None:
    written = (
        "{docker.io: {}, registry.gitlab.com: {token_hosts: [login.example]}, ghcr.io: {},"
        " hub.example: {url: https://registry-1.docker.io}}"
    )
    upstreams = load(None, {"ENTREPOT_UPSTREAMS": written}, {}).settings.upstreams
    hosts = {each.upstream.alias: each.token_hosts for each in upstreams}
    assert hosts == {
        "docker.io": {"auth.docker.io"},
        "registry.gitlab.com": {"gitlab.com", "login.example"},
        "ghcr.io": set(),
        "hub.example": {"auth.docker.io"},
    }
