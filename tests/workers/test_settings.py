"""Settings come from the environment, then from a file, then from the table; senseless ones are refused."""

from dataclasses import fields
from pathlib import Path

import pytest

from workers.settings import BadSettings, Settings, load


def test_the_defaults_are_those_of_one_machine() -> None:
    settings = load({})
    assert settings.home == Path("~/.lookalike").expanduser()
    assert settings.is_embedded_redis
    assert settings.is_embedded_qdrant
    assert settings.storage_url == f"file://{settings.home}/storage"


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lookalike.toml"
    file.write_text('home = "/from/file"\nconcurrency = 3\nqueues = ["search"]\n')
    settings = load({"LOOKALIKE_CONFIG": str(file), "LOOKALIKE_HOME": "/from/environment"})
    assert (str(settings.home), settings.concurrency, settings.queues) == ("/from/environment", 3, ("search",))


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("LOOKALIKE_REDIS_URL", "localhost:6379", "must be a URL such as redis://localhost:6379/0"),
        ("LOOKALIKE_QDRANT_URL", "localhost:6333", "must be a URL such as http://localhost:6333"),
        ("LOOKALIKE_STORAGE", "/data", "must be a URL such as s3://bucket/prefix"),
        ("LOOKALIKE_DEVICE", "tpu", "LOOKALIKE_DEVICE must be auto, cpu, cuda, cuda:0, .* or cuda:7, got 'tpu'"),
        ("LOOKALIKE_QUEUES", "search,serach", "must be search, index or maintenance, got 'serach'"),
        ("LOOKALIKE_CONCURRENCY", "many", "must be a whole number, got 'many'"),
        ("LOOKALIKE_CONCURRENCY", "0", "must be at least 1, got 0"),
        ("LOOKALIKE_METRICS_PORT", "-1", "must be at least 0, got -1"),
        ("LOOKALIKE_CONFIG", "/no/such/file.toml", "which is no file"),
        ("LOOKALIKE_QDRANT_API_KEY_FILE", "/no/such/secret", "LOOKALIKE_QDRANT_API_KEY_FILE names /no/such/secret"),
    ],
)
def test_a_senseless_value_is_refused_with_a_hint(name: str, value: str, complaint: str) -> None:
    with pytest.raises(BadSettings, match=complaint) as caught:
        load({name: value})
    assert caught.value.hint


def test_a_file_with_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('hoem = "/x"\n')
    with pytest.raises(BadSettings, match="unknown setting: hoem"):
        load({"LOOKALIKE_CONFIG": str(file)})


def test_a_home_may_begin_with_a_tilde() -> None:
    assert load({"LOOKALIKE_HOME": "~/photos"}).home == Path.home() / "photos"
    assert Settings().home == Path.home() / ".lookalike"


def test_a_child_process_gets_the_same_settings() -> None:
    settings = load({"LOOKALIKE_HOME": "/x", "LOOKALIKE_API_TOKENS": "a,b", "LOOKALIKE_QUEUES": "search,index"})
    assert load(settings.environment()) == settings


def test_secrets_may_stand_in_files(tmp_path: Path) -> None:
    tokens, queue = tmp_path / "api_tokens", tmp_path / "redis_url"
    tokens.write_text("first\nsecond,third\n")
    queue.write_text("redis://:word@redis:6379/0\n")
    settings = load({"LOOKALIKE_API_TOKENS_FILE": str(tokens), "LOOKALIKE_REDIS_URL_FILE": str(queue)})
    assert settings.api_tokens == ("first", "second", "third")
    assert settings.redis_url == "redis://:word@redis:6379/0"


def test_a_variable_with_the_secret_itself_goes_before_its_file(tmp_path: Path) -> None:
    named = {"LOOKALIKE_API_TOKENS_FILE": str(tmp_path / "missing")}
    assert load({"LOOKALIKE_API_TOKENS": "here", **named}).api_tokens == ("here",)
    with pytest.raises(BadSettings, match="cannot be read"):
        load({"LOOKALIKE_API_TOKENS": "", **named})


def test_only_what_may_be_secret_has_a_file() -> None:
    with_file = {f.name for f in fields(Settings) if f.metadata["file"]}
    assert with_file == {"redis_url", "qdrant_api_key", "api_tokens"}


def test_secrets_are_never_shown() -> None:
    shown = load({"LOOKALIKE_API_TOKENS": "hunter2", "LOOKALIKE_QDRANT_API_KEY": "hunter3"}).shown()
    assert "hunter" not in str(shown)
    assert shown["LOOKALIKE_API_TOKENS"] == "set"


def test_every_setting_has_help() -> None:
    assert all(f.metadata["env"] and f.metadata["help"] for f in fields(Settings))
