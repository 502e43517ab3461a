"""A home is closed to the other users of the machine, whatever the umask and whoever made it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import home as homes
from deploy.local.stack import Stack
from ml.errors import LookalikeError
from workers.settings import Settings


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(folder: Path) -> list[Path]:
    return [path for path in [folder, *folder.rglob("*")] if mode(path) & 0o077]


@pytest.mark.usefixtures("stand_in_services")
def test_nothing_in_the_home_of_a_running_system_is_open_to_others(home_settings: Settings) -> None:
    with Stack(home_settings, portal=("127.0.0.1", 0)):
        assert (home_settings.home / "logs" / "worker.log").exists()
        assert (home_settings.home / "valkey").exists()
        assert open_to_others(home_settings.home) == []


def test_a_home_from_before_is_closed(tmp_path: Path) -> None:
    (tmp_path / "home" / "storage" / "originals").mkdir(parents=True)
    homes.prepare(tmp_path / "home")
    assert mode(tmp_path / "home") == 0o700


def test_where_other_things_lie_only_what_is_ours_is_closed(tmp_path: Path) -> None:
    for name in ("storage", "letters"):
        (tmp_path / "home" / name).mkdir(parents=True)
    before = mode(tmp_path / "home")
    homes.prepare(tmp_path / "home")
    assert mode(tmp_path / "home") == before
    assert mode(tmp_path / "home" / "letters") == 0o777
    assert {mode(tmp_path / "home" / name) for name in ("storage", "run", "logs")} == {0o700}


def test_a_home_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    with pytest.raises(LookalikeError, match=f"cannot write to {tmp_path}/home: File exists"):
        homes.prepare(tmp_path / "home")


def test_a_user_without_a_folder_gets_the_home_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setenv("HOME", "to be put back")
    monkeypatch.delenv("HOME")
    homes.stand_in_for_user_folder()
    assert "HOME" not in os.environ
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path))
    homes.stand_in_for_user_folder()
    assert Path("~").expanduser() == tmp_path
