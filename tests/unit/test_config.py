"""The configuration: where values come from, and what people are told about names that do not exist."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml

from entrepot.config import Address, ConfigError, Settings, find_file, load
from entrepot.config.document import document
from entrepot.config.settings import SETTINGS, value_of
from tests.support.configuration import from_environment, refused

WriteFile = Callable[[str], Path]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Write a configuration file, return its path."""

    def write(text: str) -> Path:
        file = tmp_path / "entrepot.yaml"
        file.write_text(text)
        return file

    return write


# ---- defaults ----------------------------------------------------------------------------------------------------


def test_nothing_needs_to_be_configured() -> None:
    loaded = load(None, {}, {})
    assert loaded.settings == Settings()
    assert loaded.warnings == []
    assert set(loaded.origins.values()) == {"default"}
    assert list(loaded.origins) == list(SETTINGS)


def test_defaults_are_closed_local_and_embedded() -> None:
    settings = Settings()
    assert settings.http.listen == Address("127.0.0.1", 5000)
    assert not settings.open
    assert not settings.open_to_network
    assert settings.data_dir == Path("data")
    assert 1 <= settings.workers <= 2
    assert settings.storage.backend == "filesystem"
    assert settings.storage.delete.enabled
    assert settings.storage.s3.region == "us-east-1"
    assert not settings.storage.s3.redirect
    assert settings.database.url == ""
    assert settings.manifests.missing == "refuse"
    assert settings.uploads.lifetime == 7 * 24 * 3600
    assert settings.uploads.idle_timeout == 60
    assert (settings.log.level, settings.log.format, settings.log.access) == ("info", "json", True)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().workers = 3  # type: ignore[misc]


@pytest.mark.parametrize("path", [path for path in SETTINGS if path != "workers"])
def test_every_default_is_a_value_that_could_have_been_written(path: str) -> None:
    setting = SETTINGS[path]
    loaded = load(None, {setting.variable: setting.default}, {})
    assert value_of(loaded.settings, path) == value_of(Settings(), path)


# ---- where values come from --------------------------------------------------------------------------------------


def test_a_flag_beats_the_environment_which_beats_registry_variables_which_beat_the_file(write_file: WriteFile) -> None:
    file = write_file("http:\n  listen: 127.0.0.1:1\n")
    registry = {"REGISTRY_HTTP_ADDR": "127.0.0.1:2"}
    own = {"ENTREPOT_HTTP__LISTEN": "127.0.0.1:3"}
    steps = [
        (load(file, {}, {}), 1, f"file {file}, line 2"),
        (load(file, registry, {}), 2, "environment REGISTRY_HTTP_ADDR"),
        (load(file, own | registry, {}), 3, "environment ENTREPOT_HTTP__LISTEN"),
        (load(file, registry | own, {"http.listen": "127.0.0.1:4"}), 4, "flag --listen"),
    ]
    for loaded, port, origin in steps:
        assert loaded.settings.http.listen.port == port
        assert loaded.origins["http.listen"] == origin


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    loaded = load(None, {"ENTREPOT_OPEN": "true"}, {"open": None})
    assert loaded.settings.open
    assert loaded.origins["open"] == "environment ENTREPOT_OPEN"


def test_flags_may_be_text_numbers_booleans_or_paths() -> None:
    settings = load(None, {}, {"workers": 3, "open": True, "data_dir": Path("/srv"), "http.listen": "[::1]:0"}).settings
    assert (settings.workers, settings.open, settings.data_dir) == (3, True, Path("/srv"))
    assert settings.http.listen == Address("::1", 0)


def test_single_underscores_belong_to_names_and_double_ones_stand_between_levels() -> None:
    settings = from_environment(
        ENTREPOT_DATA_DIR="/srv",
        ENTREPOT_HTTP__PUBLIC_URL="https://registry.example",
        ENTREPOT_STORAGE__S3__ACCESS_KEY_ID="id",
        ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY="secret",
    ).settings
    assert settings.data_dir == Path("/srv")
    assert settings.http.public_url == "https://registry.example"
    assert settings.storage.s3.access_key_id == "id"


EVERY_KEY = """\
data_dir: /srv/entrepot
workers: 4
open: yes
open_to_network: yes
http:
  listen: 0.0.0.0:443
  public_url: https://registry.example/
  forwarded_header: forwarded
  trusted_proxies: [10.0.0.0/8, "::1"]
  hosts:
    - Registry.Internal
  tls: {certificate: tls.crt, key: tls.key}
storage:
  backend: s3
  delete: {enabled: no}
  s3: {bucket: "007", region: no, endpoint: "http://127.0.0.1:9000", access_key_id: 1e3, secret_access_key: 0x10,
       prefix: 22:22, redirect: on}
database: {url: "postgresql://entrepot:pass@db/entrepot"}
manifests: {missing: accept}
uploads: {lifetime: 2d, idle_timeout: 1.5}
lifecycle: {undo: 7d, grace: 12h, quarantine: 6h, scrub: 7d}
secret_key: 0123456789abcdef0123456789abcdef
accounts: {sign_up: open}
auth: {htpasswd: "", services: [other.example]}
limits:
  pulls: {anonymous: 100, account: unlimited, window: 1h}
  requests: {address: 1000, account: 2000}
audit: {keep: 30d}
backup: {s3: {region: eu-west-1, endpoint: "http://copies:7480", access_key_id: b, secret_access_key: c}}
redis: {url: "redis://cache:6379/1", nodes: 3}
upstreams:
  docker.io:
  ghcr.io: {username: bot, password: secret, fresh: {v*: pinned, "*": 5m}, allow: [org/*], size: 20GB, read: everyone}
cache: {size: 20GB, images: ["ghcr.io/org/app:v1"], images_file: images.txt, platforms: [linux/amd64], refresh: 1h}
mirror: {upstream: ghcr.io, listen: ":5001", everywhere: no}
cluster: {advertise: "http://10.0.0.5:5000", ca: nodes.pem}
log: {level: debug, format: text, access: off}
"""


def test_every_key_can_be_written_in_the_file(write_file: WriteFile) -> None:
    file = write_file(EVERY_KEY)
    loaded = load(file, {}, {})
    settings = loaded.settings
    assert (settings.limits.pulls.anonymous, settings.limits.pulls.account) == (100, None)
    assert all(origin.startswith(f"file {file}, line ") for origin in loaded.origins.values())
    assert settings.http.public_url == "https://registry.example"
    assert settings.http.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert settings.http.forwarded_header == "forwarded"
    assert settings.http.hosts == ("registry.internal",)
    assert settings.http.tls.certificate == Path("tls.crt")
    assert not settings.storage.delete.enabled
    assert settings.uploads.lifetime == 2 * 86400
    assert settings.uploads.idle_timeout == 1.5
    hub, github = (each.upstream for each in settings.upstreams)
    assert (hub.alias, hub.url, hub.everyone) == ("docker.io", "https://registry-1.docker.io", True)
    assert (github.freshness("v1").seconds, github.freshness("latest").seconds) == (None, 300)
    assert (github.allows("org/app"), github.allows("other/app"), github.size) == (True, False, 20_000_000_000)


@pytest.mark.parametrize("way", ["file", "environment"])
def test_docker_hub_is_a_word_for_its_pull_limits(write_file: WriteFile, way: str) -> None:
    file = write_file("limits: {pulls: docker-hub}\n") if way == "file" else None
    environment = {} if file else {"ENTREPOT_LIMITS__PULLS": "docker-hub"}
    pulls = load(file, {**environment, "ENTREPOT_LIMITS__PULLS__ACCOUNT": "500"}, {}).settings.limits.pulls
    assert (pulls.anonymous, pulls.account, pulls.window) == (100, 500, 6 * 3600)


def test_another_word_for_pull_limits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"limits\.pulls must be a group of keys or the word docker-hub"):
        load(None, {"ENTREPOT_LIMITS__PULLS": "quay"}, {})


def test_what_yaml_1_1_would_turn_into_something_else_stays_as_written(write_file: WriteFile) -> None:
    file = write_file(
        "storage: {s3: {prefix: 22:22, region: no, bucket: 007, access_key_id: 1e3, secret_access_key: 0x10}}"
    )
    s3 = load(file, {}, {}).settings.storage.s3
    assert (s3.prefix, s3.region, s3.bucket) == ("22:22", "no", "007")
    assert (s3.access_key_id, s3.secret_access_key) == ("1e3", "0x10")


def test_a_key_or_a_section_without_a_value_keeps_its_default(write_file: WriteFile) -> None:
    assert load(write_file("workers:\nhttp:\nlog: ~\nstorage: {s3: {region: null}}\n"), {}, {}).settings == Settings()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "null\n"])
def test_an_empty_file_is_no_configuration(write_file: WriteFile, text: str) -> None:
    assert load(write_file(text), {}, {}).settings == Settings()


def test_lists_in_the_environment_are_json() -> None:
    settings = from_environment(
        ENTREPOT_HTTP__HOSTS='["a.internal", "b"]', ENTREPOT_HTTP__TRUSTED_PROXIES="[]"
    ).settings
    assert settings.http.hosts == ("a.internal", "b")
    assert settings.http.trusted_proxies == ()


# ---- which file --------------------------------------------------------------------------------------------------


def test_the_flag_names_the_file_else_the_environment_else_it_is_entrepot_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    (tmp_path / "entrepot.yaml").touch()
    assert find_file(None, {}) == Path("entrepot.yaml")
    assert find_file(None, {"ENTREPOT_CONFIG": "other.yaml"}) == Path("other.yaml")
    assert find_file(Path("named.yaml"), {"ENTREPOT_CONFIG": "other.yaml"}) == Path("named.yaml")


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    assert "absent.yaml: No such file or directory" in refused(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\tworkers: 1", "workers: 1\n---\nworkers: 2\n", "a: \x00"])
def test_a_file_that_is_not_yaml_is_an_error_that_names_the_file(write_file: WriteFile, text: str) -> None:
    assert "entrepot.yaml is not YAML: " in refused(write_file(text))


def test_a_file_that_is_not_utf_8_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"data_dir: \xff\xfe\xfa")
    assert "binary.yaml is not YAML: " in refused(tmp_path / "binary.yaml")


# ---- unknown names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workers: 2\nhttp:\n  lisen: a\n", "unknown key http.lisen (file {file}, line 3); did you mean http.listen?"),
        ("htpp: {listen: a}\n", "unknown key htpp (file {file}, line 1); did you mean http?"),
        ("datadir: /srv\n", "unknown key datadir (file {file}, line 1); did you mean data_dir?"),
        ("listen: a\n", "unknown key listen (file {file}, line 1); did you mean http.listen?"),
        (
            "storage.s3.bucket: a\n",
            "unknown key storage.s3.bucket (file {file}, line 1); write storage: {{s3: {{bucket: …}}}},"
            " one level inside the other",
        ),
        ("zzz: 1\n", "unknown key zzz (file {file}, line 1); `entrepot config show` lists the keys there are"),
        ("workers: 1\nworkers: 2\n", "workers stands twice (file {file}, line 2)"),
        ("http: 5000\n", "http must be a group of keys (file {file}, line 1)"),
        ("- workers\n", "the configuration must be a group of keys (file {file}, line 1)"),
        ("workers: {number: 2}\n", "workers must be a whole number of at least 1 (file {file}, line 1)"),
    ],
)
def test_a_file_with_unknown_keys_is_refused_with_the_place_and_the_nearest_key(
    write_file: WriteFile, text: str, expected: str
) -> None:
    file = write_file(text)
    assert refused(file) == expected.format(file=file)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("ENTREPOT_HTTP_LISTEN", "ENTREPOT_HTTP__LISTEN"),
        ("ENTREPOT_DATA__DIR", "ENTREPOT_DATA_DIR"),
        ("ENTREPOT_LISTEN", "ENTREPOT_HTTP__LISTEN"),
        ("ENTREPOT_S3_BUCKET", "ENTREPOT_STORAGE__S3__BUCKET"),
        ("ENTREPOT_WORKER", "ENTREPOT_WORKERS"),
    ],
)
def test_an_unknown_variable_of_ours_is_refused_with_the_nearest_one(variable: str, nearest: str) -> None:
    message = refused(environment={variable: "1"})
    assert message == f"unknown environment variable {variable}; did you mean {nearest}?"


def test_the_variables_that_are_no_settings_are_accepted() -> None:
    loaded = from_environment(ENTREPOT_ADMIN_PASSWORD="secret", ENTREPOT_CONFIG="entrepot.yaml", HOME="/root")
    assert loaded.settings == Settings()
    assert loaded.warnings == []


def test_what_kubernetes_sets_for_a_service_named_like_us_is_no_configuration() -> None:
    links = {
        f"{name}_{suffix}": value
        for name in ("ENTREPOT", "ENTREPOT_HUB", "REGISTRY")
        for suffix, value in {
            "SERVICE_HOST": "10.0.0.11",
            "SERVICE_PORT": "5000",
            "SERVICE_PORT_HTTP": "5000",
            "PORT": "tcp://10.0.0.11:5000",
            "PORT_5000_TCP": "tcp://10.0.0.11:5000",
            "PORT_5000_TCP_PROTO": "tcp",
            "PORT_5000_TCP_PORT": "5000",
            "PORT_5000_TCP_ADDR": "10.0.0.11",
        }.items()
    }
    loaded = load(None, links, {})
    assert loaded.settings == Settings()
    assert loaded.warnings == []
    assert "unknown environment variable ENTREPOT_PORT" in refused(environment={"ENTREPOT_PORT": "5000"})


# ---- registry:2 --------------------------------------------------------------------------------------------------


def test_the_variables_of_registry_2_mean_what_they_meant() -> None:
    loaded = load(
        None,
        {
            "REGISTRY_HTTP_ADDR": ":5000",
            "REGISTRY_HTTP_TLS_CERTIFICATE": "/certs/domain.crt",
            "REGISTRY_HTTP_TLS_KEY": "/certs/domain.key",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/var/lib/registry",
            "REGISTRY_STORAGE_DELETE_ENABLED": "false",
        },
        {},
    )
    assert loaded.settings.http.listen == Address("0.0.0.0", 5000)
    assert loaded.settings.http.tls.certificate == Path("/certs/domain.crt")
    assert loaded.settings.http.tls.key == Path("/certs/domain.key")
    assert loaded.settings.data_dir == Path("/var/lib/registry")
    assert not loaded.settings.storage.delete.enabled
    assert loaded.warnings == []


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "no effect"),
        ("REGISTRY_LOG_LEVEL", "no effect"),
    ],
)
def test_any_other_registry_variable_is_named_in_a_warning(variable: str, words: str) -> None:
    (warning,) = load(None, {variable: "a secret"}, {}).warnings
    assert variable in warning
    assert words in warning
    assert "a secret" not in warning


# ---- the page ----------------------------------------------------------------------------------------------------


def test_the_page_about_configuration_is_the_one_that_the_settings_write() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text() == document(), "run `entrepot config docs > docs/configuration.md`"


def test_the_example_on_the_page_can_be_loaded(write_file: WriteFile) -> None:
    example = document().split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(example)
    loaded = load(write_file(example), {}, {})
    assert loaded.settings.uploads.lifetime == 2 * 86400


def test_every_key_has_help_that_is_a_sentence() -> None:
    for setting in SETTINGS.values():
        assert setting.help.endswith(".")
        assert setting.help[0].isupper()
