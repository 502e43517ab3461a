"""The contract of every sub-command: help, exit status, errors in one line, a clean stdout."""

import errno
import importlib
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest

from deploy.cli.__main__ import COMMANDS, program, run
from deploy.cli.console import Console, bar, command, table
from ml.errors import LookalikeError
from workers.settings import Settings


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("LOOKALIKE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def made(name: str) -> click.Command:
    found = program.get_command(click.Context(program), name)
    assert found
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"], Console()) == 0
    text = capsys.readouterr().out
    assert f"lookalike {name}" in text.partition("Example:")[2]
    assert "--debug" in text


def test_every_command_that_ends_by_itself_has_json() -> None:
    def without(name: str) -> bool:
        command = made(name)
        kinds = list(command.commands.values()) if isinstance(command, click.Group) else [command]
        return any("--json" not in parameter_names(kind) for kind in kinds)

    def parameter_names(command: click.Command) -> set[str]:
        return {name for parameter in command.params for name in parameter.opts}

    assert {name for name in COMMANDS if without(name)} == {"up", "watch", "worker", "trainer", "web"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_program_s_help_says_of_a_command_what_its_own_help_says(name: str) -> None:
    assert COMMANDS[name][1].casefold() == (made(name).help or "").partition("\n")[0].casefold()


def test_the_program_s_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], Console()) == 0
    text = capsys.readouterr().out
    assert [f.name for f in fields(Settings) if f"  {f.metadata['env']} " not in text] == []


def test_where_no_bar_can_be_drawn_what_stands_still_is_seldom_said_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter(range(0, 3 * 45, 3))  # a look every three seconds
    monkeypatch.setattr("deploy.cli.console.time.monotonic", lambda: float(next(seconds)))
    monkeypatch.setenv("TERM", "dumb")
    with Console().progress("indexing", 48) as show:
        for done in [0] * 9 + [5, 48]:
            show(done)
    assert capsys.readouterr().err.splitlines() == [f"indexing: {done} of 48" for done in (0, 5, 48)]


def test_the_program_starts_at_once(tmp_path: Path) -> None:
    heavy = "{'torch', 'celery', 'redis', 'rich', 'flask', 'PIL', 'numpy'}"
    check = f"import sys, deploy.cli.__main__; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[3])


def test_what_asks_the_running_system_starts_without_decoders() -> None:
    """What `lookalike search` and `status` import takes most of their time, and both show no photo."""
    modules = "deploy.cli.gallery, deploy.cli.status, deploy.local.connection, workers.client"
    heavy = "{'ml.images.decoding', 'pillow_heif', 'flask'}"
    check = f"import sys, {modules}; sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["indx"], 2, "error: No such command 'indx'"),
        (["index"], 2, "error: Missing argument 'PATH...'"),
        (["index", "nothing"], 2, "error: Invalid value for 'PATH...': Path 'nothing' does not exist"),
        (["index", ".", "--label-from", "name"], 2, "error: Invalid value for '--label-from'"),
        (["search"], 2, "error: Missing argument 'IMAGE...'"),
        (["search", "nothing.jpg"], 2, "error: Invalid value for 'IMAGE...': File 'nothing.jpg' does not exist"),
        (["search", "photo.jpg", "-k", "0"], 2, "error: Invalid value for '-k': 0 is not in the range 1<=x<=1000"),
        (["label", "0" * 32], 2, "error: Missing option '--as'"),
        (["delete"], 2, "error: Missing argument 'ID...'"),
        (["status", "--colour"], 2, "error: No such option '--colour'"),
        (["up", "--host", "0.0.0.0"], 2, "error: --host 0.0.0.0 would show every photo to anyone who can reach"),
        (["up", "--host", "example.org"], 2, "error: --host example.org would show every photo"),
        (["up", "--workers", "2"], 1, "error: the embedded store belongs to one worker"),
        (["worker"], 1, "error: there is no system that this worker could join"),
        (["web"], 1, "error: there is no system that this web could join"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_with_a_hint(
    arguments: list[str], status: int, error: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"no image")
    assert run(arguments, Console()) == status
    captured = capsys.readouterr()
    lines = captured.err.strip().split("\n")
    assert lines[0].startswith(error)
    assert len(lines) == 2
    assert lines[1].startswith("hint: ")
    assert captured.out == ""


@pytest.mark.parametrize("arguments", [["photos", "--label"], ["index", "--label"], ["labels", "rename"]])
def test_a_usage_error_names_the_commands_own_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments, Console()) == 2
    named = " ".join(word for word in arguments if not word.startswith("-"))
    assert capsys.readouterr().err.endswith(f"hint: see lookalike {named} --help\n")


def test_a_bad_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_CONCURRENCY", "many")
    assert run(["status"], Console()) == 1
    assert capsys.readouterr().err == (
        "error: LOOKALIKE_CONCURRENCY must be a whole number, got 'many'\nhint: for example LOOKALIKE_CONCURRENCY=16\n"
    )


def test_any_address_is_fine_with_tokens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOOKALIKE_API_TOKENS", "secret")
    assert run(["up", "--host", "0.0.0.0", "--workers", "2"], Console()) == 1  # refused for the next reason
    assert "belongs to one worker" in capsys.readouterr().err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], Console()) == 0
    assert capsys.readouterr().out.startswith("lookalike 0.")


def test_a_mistyped_command_is_told_what_it_may_have_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serch", "photo.jpg"], Console()) == 2
    assert capsys.readouterr().err == "error: No such command 'serch'\nhint: did you mean: lookalike search\n"
    assert run(["xyzzy"], Console()) == 2
    assert "lookalike --help" in capsys.readouterr().err


class TestEndings:
    """How any command ends, by a command of our own."""

    @pytest.fixture(autouse=True)
    def _command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @command("ending", example="lookalike ending")
        @click.argument("kind")
        def ending(console: Console, kind: str) -> None:
            """End in some way."""
            errors: dict[str, BaseException] = {
                "known": LookalikeError("the disk\nis full", hint="make room"),
                "unexpected": ZeroDivisionError("by zero"),
                "interrupted": KeyboardInterrupt(),
                "disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/x/file"),
                "moved": OSError(errno.EACCES, "Permission denied", "/a", None, "/b"),
                "odd": OSError("the disk said something else"),
                "memory": MemoryError(),
                "file": click.FileError("/x", "no such file"),
            }
            if kind in errors:
                raise errors[kind]
            console.step("working")
            console.show("for people")
            console.result({"done": True, "label": "Äpfel"})

        module = importlib.import_module("deploy.cli.status")
        monkeypatch.setattr(module, "ending", ending, raising=False)
        monkeypatch.setitem(COMMANDS, "ending", ("deploy.cli.status", "End in some way."))

    def test_a_known_error_is_one_line_and_status_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ending", "known"], Console()) == 1
        assert capsys.readouterr() == ("", "error: the disk is full\nhint: make room\n")

    @pytest.mark.parametrize(
        ("kind", "line", "hint"),
        [
            ("disk", "/home/x/file: No space left on device", "free space on that disk"),
            ("moved", "/a -> /b: Permission denied", "correct the permissions"),
            ("odd", "the disk said something else", "look at the file"),
            ("memory", "Cannot allocate memory", "end other programs"),
        ],
    )
    def test_what_the_system_refuses_is_one_line_with_a_hint(
        self, kind: str, line: str, hint: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["ending", kind], Console()) == 1
        assert capsys.readouterr().err.startswith(f"error: {line}\nhint: {hint}")

    def test_a_file_that_cannot_be_opened_is_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ending", "file"], Console()) == 1
        assert capsys.readouterr().err == "error: Could not open file '/x': no such file\n"

    def test_an_unexpected_error_shows_no_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ending", "unexpected"], Console()) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: unexpected ZeroDivisionError: by zero\nhint: run it again with --debug")
        assert "Traceback" not in error

    @pytest.mark.parametrize("kind", ["known", "unexpected"])
    def test_debug_shows_the_traceback(self, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ending", kind, "--debug"], Console()) == 1
        assert "Traceback (most recent call last)" in capsys.readouterr().err

    def test_an_interruption_is_status_130(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ending", "interrupted"], Console()) == 130
        assert capsys.readouterr().err.strip() == "error: interrupted"

    def test_json_is_one_object_on_stdout(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ending", "well", "--json"], Console()) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out) == {"done": True, "label": "Äpfel"}
        assert captured.err == "working\n"

    def test_without_json_the_result_is_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["ending", "well"], Console()) == 0
        assert capsys.readouterr() == ("for people\n", "working\n")


def test_with_json_nothing_else_reaches_stdout_whoever_prints() -> None:
    check = (
        "import os, subprocess, sys\n"
        "from deploy.cli.console import Console\n"
        "console = Console(owns_process=True)\n"
        "console.use_json()\n"
        "print('a library prints')\n"
        "os.write(1, b'native code prints')\n"
        "subprocess.run(['echo', 'a child prints'])\n"
        "console.result({'done': True})\n"
    )
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout) == {"done": True}
    assert "native code prints" in finished.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    finished = subprocess.run(
        f"{sys.executable} -m deploy.cli --help | true", shell=True, capture_output=True, text=True, check=True
    )
    assert finished.stderr == ""


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar(0.5, 4) == "██"
    assert bar(1.5, 4) == "████"
    assert bar(-1, 4) == ""
    assert bar(1 / 32, 4) == "▏"


def test_a_table_has_columns_of_one_width() -> None:
    assert table([["1", "lime"], ["10", "kiwi"]], ["rank", "label"]) == "rank  label\n1     lime\n10    kiwi"
