"""The configuration: what values may be, which do not fit together, and that secrets stay secret."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.config import Address, ConfigError, load
from entrepot.config.kinds import DURATION, LISTEN, mask_password
from entrepot.config.settings import SETTINGS, value_of
from tests.support.configuration import from_environment, refused

# ---- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5000", Address("127.0.0.1", 5000)),
        (":80", Address("0.0.0.0", 80)),
        ("LocalHost:0", Address("localhost", 0)),
        ("[0:0::1]:5000", Address("::1", 5000)),
        ("[::]:65535", Address("::", 65535)),
    ],
)
def test_an_address_to_listen_on_is_host_and_port(text: str, address: Address) -> None:
    assert from_environment(ENTREPOT_HTTP__LISTEN=text).settings.http.listen == address
    assert LISTEN.read(str(address)) == address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert Address(host, 1).loopback is loopback


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 604800), ("60s", 60), ("5m", 300), ("12h", 43200), ("90", 90), ("0.5s", 0.5), ("1.5h", 5400)],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert from_environment(ENTREPOT_UPLOADS__IDLE_TIMEOUT=text).settings.uploads.idle_timeout == seconds


@given(st.integers(min_value=1, max_value=10**11))
def test_a_duration_that_is_shown_can_be_written_back(milliseconds: int) -> None:
    assert DURATION.read(DURATION.write(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize("text", ["true", "True", "yes", "on", "1"])
def test_booleans_may_be_written_as_people_write_them(text: str) -> None:
    assert from_environment(ENTREPOT_OPEN=text).settings.open


BAD_VALUES = {
    "data_dir": ["", "a\nb"],
    "workers": ["0", "-1", "two", "1.5", "", "٣", "9" * 40],
    "open": ["", "maybe", "2"],
    "http.listen": [
        "",
        "5000",
        "a:b",
        "::1:5000",
        "[::1]",
        "127.0.0.1:65536",
        "[127.0.0.1]:1",
        "a b:1",
        "22:22",
        "127.1:1",
        "http://a:1",
    ],
    "http.public_url": ["registry.example", "ftp://a", "https://", "https://a/registry", "https://u@a", "https://a:b"],
    "http.trusted_proxies": ["10.0.0.1", "[10.0.0.1/8]", "[proxy]", "[[10.0.0.1]]", "{", "", "{a: b}"],
    "http.hosts": ['["a:5000"]', '["https://a"]', '[""]', "a.internal"],
    "storage.backend": ["", "S3", "swift"],
    "storage.s3.endpoint": ["127.0.0.1:9000", "http://a?b"],
    "manifests.missing": ["ignore"],
    "uploads.lifetime": ["0", "0.5s", "7 d", "7w", "-1s", "1_0", ""],
    "uploads.idle_timeout": ["0s", "nan", "inf"],
    "log.level": ["INFO", "trace"],
    "log.format": ["yaml"],
}


@pytest.mark.parametrize(("path", "text"), [(path, text) for path, texts in BAD_VALUES.items() for text in texts])
def test_a_bad_value_is_one_line_that_names_the_key_what_it_must_be_and_where_it_stands(path: str, text: str) -> None:
    setting = SETTINGS[path]
    message = refused(environment={setting.variable: text})
    assert message.startswith(f"{path} must be {setting.form}, not ")
    assert message.endswith(f" (environment {setting.variable})")


def test_a_bad_value_in_the_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "entrepot.yaml"
    file.write_text("http:\n\n  hosts: a.internal\n")
    assert refused(file).endswith(f", not 'a.internal' (file {file}, line 3)")


def test_a_bad_value_of_a_flag_is_named_with_the_flag() -> None:
    assert refused(workers="many") == "workers must be a whole number of at least 1, not 'many' (flag --workers)"


@given(st.sampled_from(sorted(SETTINGS)), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_no_text_whatever_makes_anything_but_a_value_or_one_line(path: str, text: str) -> None:
    message = ""
    try:
        load(None, {SETTINGS[path].variable: text}, {})
    except ConfigError as error:
        message = str(error)
    assert message.isprintable()


# ---- values that do not fit together -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "key", "words"),
    [
        ({"ENTREPOT_HTTP__TLS__CERTIFICATE": "a"}, "http.tls.certificate", "needs http.tls.key"),
        ({"ENTREPOT_HTTP__TLS__KEY": "a"}, "http.tls.key", "needs http.tls.certificate"),
        ({"ENTREPOT_STORAGE__BACKEND": "s3"}, "storage.backend", "needs storage.s3.bucket"),
        ({"ENTREPOT_CLUSTER__ADVERTISE": "http://10.0.0.5"}, "cluster.advertise", "needs database.url"),
        (
            {
                "ENTREPOT_CLUSTER__ADVERTISE": "http://10.0.0.5",
                "ENTREPOT_DATABASE__URL": "postgresql://db/x",
                "ENTREPOT_OPEN": "yes",
            },
            "cluster.advertise",
            "needs secret_key",
        ),
        (
            {"ENTREPOT_STORAGE__S3__ACCESS_KEY_ID": "a"},
            "storage.s3.access_key_id",
            "needs storage.s3.secret_access_key",
        ),
        (
            {"ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY": "a"},
            "storage.s3.secret_access_key",
            "needs storage.s3.access_key_id",
        ),
        ({"ENTREPOT_OPEN": "true", "REGISTRY_HTTP_ADDR": ":5000"}, "http.listen", "type --open-to-network as well"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(environment: Mapping[str, str], key: str, words: str) -> None:
    message = refused(environment=environment)
    assert message.startswith(f"{key} ")
    assert words in message
    assert "(environment " in message


def test_an_open_registry_serves_the_network_only_when_that_is_said() -> None:
    settings = load(None, {"ENTREPOT_HTTP__LISTEN": ":5000"}, {"open": True, "open_to_network": True}).settings
    assert not settings.http.listen.loopback


# ---- secrets -----------------------------------------------------------------------------------------------------


def test_secrets_appear_neither_in_errors_nor_in_the_settings_as_text() -> None:
    loaded = load(
        None,
        {
            "ENTREPOT_DATABASE__URL": "postgresql://entrepot:hunter2@db/entrepot",
            "ENTREPOT_STORAGE__S3__ACCESS_KEY_ID": "id",
            "ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY": "hunter2",
            "ENTREPOT_SECRET_KEY": "hunter2" * 5,
        },
        {},
    )
    assert "hunter2" not in repr(loaded)
    shown = [setting.write(value_of(loaded.settings, path)) for path, setting in SETTINGS.items()]
    assert "postgresql://entrepot:********@db/entrepot" in shown
    assert "hunter2" not in " ".join(shown)
    assert "hunter2" not in refused(environment={"ENTREPOT_DATABASE__URL": "mysql://root:hunter2@db/x"})
    assert "hunter2" not in refused(environment={"ENTREPOT_STORAGE__S3__SECRET_ACCESS_KEY": "hunter2\n"})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/d",
        "postgresql://u:hun/hunter2?@h/d",
        "postgresql://u:a@hunter2@h/d",
        "postgresql://:hunter2@h/d",
        "postgresql:///d?host=/run&password=hunter2",
        "postgresql://h/d?sslpassword=hunter2&sslmode=verify-full",
    ],
)
def test_a_password_in_a_database_url_is_masked_wherever_it_stands(url: str) -> None:
    assert "hunter2" not in mask_password(url)


def test_a_database_url_without_a_password_is_shown_as_it_is() -> None:
    assert mask_password("postgresql://u@h:5432/d?sslmode=require") == "postgresql://u@h:5432/d?sslmode=require"
