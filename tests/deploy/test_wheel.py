"""What a stranger installs: the wheel, in environments that hold what it asks for and no development package."""

import contextlib
import importlib.metadata
import json
import os
import re
import subprocess
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.environments import ROOT, build_wheel, closure, installed_bytes, make_environment, project

README = (ROOT / "README.md").read_text("utf-8")

pytestmark = pytest.mark.timeout(600)  # the demo compiles its model, in an environment that is new to the disk cache


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment of `pip install lookalike`."""
    return make_environment(tmp_path_factory.mktemp("bare"), wheel, closure())


@pytest.fixture(scope="module")
def embedded(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment of `pip install 'lookalike[worker,embedded]'`."""
    return make_environment(tmp_path_factory.mktemp("embedded"), wheel, closure("worker", "embedded"))


class Demo(NamedTuple):
    """A folder in which the demo ran, which was its user's home, too; what it said, and what it left there."""

    folder: Path
    ended: "subprocess.CompletedProcess[str]"
    left: set[str]


@pytest.fixture(scope="module")
def demo(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    ended = run(embedded, folder, "lookalike", "demo", "--once", "--json")
    return Demo(folder, ended, {path.name for path in folder.iterdir()})


def run(programs: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of an environment as a person would, from a folder of theirs."""
    return subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=folder,
        env=environment_of(folder),
        capture_output=True,
        text=True,
        timeout=500,
    )


def environment_of(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOOKALIKE_", "PYTHON", "RAY_"))}
    return kept | {"HOME": str(folder), "LOOKALIKE_HOME": ".lookalike"}


@contextlib.contextmanager
def running(programs: Path, folder: Path) -> Iterator[None]:
    """A system on the folder's home while the block lasts, lest every command starts one of its own."""
    with (
        (folder / "said.txt").open("w+", encoding="utf-8") as said,
        subprocess.Popen(
            [str(programs / "lookalike"), "up", "--port", "0"],
            cwd=folder,
            env=environment_of(folder),
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as system,
    ):
        try:
            assert system.stdout
            assert "http://" in system.stdout.readline(), (folder / "said.txt").read_text("utf-8")
            yield
        finally:
            system.terminate()


def test_the_wheel_holds_our_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"ml", "workers", "web", "deploy"}
    data = [
        *(f"{room}/py.typed" for room in ("ml", "workers", "web", "deploy")),
        *(str(path.relative_to(ROOT)) for path in ROOT.glob("ml/templates/*")),
        *(str(path.relative_to(ROOT)) for path in ROOT.glob("web/static/**/*") if path.is_file()),
        *(str(path.relative_to(ROOT)) for path in ROOT.glob("web/templates/**/*") if path.is_file()),
        *(
            str(path.relative_to(ROOT))
            for room in ("ml", "workers", "web", "deploy")
            for path in ROOT.glob(f"{room}/**/*.py")
        ),
    ]
    assert set(data) - names == set()
    assert [name for name in names if name.startswith(("deploy/docker", "deploy/k8s"))] == []


def test_the_wheel_says_who_made_it_and_where_it_lives(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Author"]
    assert {url.partition(",")[0] for url in metadata.get_all("Project-URL", ())} >= {"Homepage", "Changelog", "Issues"}
    assert "Typing :: Typed" in metadata.get_all("Classifier", ())
    assert set(metadata.get_all("Provides-Extra", ())) == set(project()["optional-dependencies"])


def test_every_extra_is_in_all_and_in_the_readme() -> None:
    extras = project()["optional-dependencies"]
    assert [extra for extra in extras if f"| `{extra}` |" not in README] == []
    assert closure("all") == closure(*extras)


def test_it_is_as_small_as_the_readme_says() -> None:
    """What `make demo` installs, as it lies on the disk."""
    said = re.search(r"installs about (\d+) MB", README)
    assert said
    size = sum(installed_bytes(name) for name in closure("worker", "embedded", "raw"))
    assert size / 1e6 < 1.1 * float(said[1])


def test_development_packages_are_in_no_environment(embedded: Path) -> None:
    site = next(embedded.parent.glob("lib/python*/site-packages"))
    installed = {canonicalize_name(found.name) for found in importlib.metadata.distributions(path=[str(site)])}
    assert {"lookalike", "openvino", "celery", "flask"} <= installed
    assert not installed & {"pytest", "mypy", "ruff", "hypothesis", "mkdocs", "ray", "scikit-learn", "nbclient"}


def test_what_serves_has_no_package_of_training(embedded: Path) -> None:
    asked_for = closure("worker", "embedded", "raw")
    assert not asked_for & {"torch", "torchvision", "timm", "ray", "scipy", "scikit-learn", "pandas", "sympy"}
    ended = run(embedded, embedded, "python", "-c", "import torch")
    assert "No module named 'torch'" in ended.stderr


def test_a_bare_installation_has_every_command_s_help(bare: Path, tmp_path: Path) -> None:
    ended = run(bare, tmp_path, "lookalike", "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    for command in ("train", "sweep", "demo", "search", "web"):
        assert f"  {command} " in ended.stdout
        assert run(bare, tmp_path, "lookalike", command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["train", "."], "lookalike train needs the extra train: pip install 'lookalike[train]'"),
        (["sweep", "."], "lookalike sweep needs the extra train: pip install 'lookalike[train]'"),
        (["evaluate", "active", "."], "lookalike evaluate needs the extra train: pip install 'lookalike[train]'"),
        (
            ["demo", "--once"],
            "a system on this machine needs the extras embedded and worker: pip install 'lookalike[embedded,worker]'",
        ),
        (["worker"], "lookalike worker needs the extra worker: pip install 'lookalike[worker]'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_whose_extra_is_missing_says_which_on_one_line(
    bare: Path, tmp_path: Path, arguments: list[str], error: str
) -> None:
    ended = run(bare, tmp_path, "lookalike", *arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[-1] == f"error: {error}"


def test_the_demo_runs_from_the_wheel(demo: Demo) -> None:
    assert demo.ended.returncode == 0, demo.ended.stderr
    report = json.loads(demo.ended.stdout)
    assert report["index"]["added"] > 0
    assert report["index"]["failed"] == 0
    assert report["search"]["results"][0]["similarity"] == pytest.approx(1.0, abs=0.01)


def test_the_demo_leaves_what_it_keeps_in_one_folder(demo: Demo) -> None:
    assert demo.left == {".lookalike"}


def test_a_search_with_re_ranking_needs_no_more_than_a_worker(embedded: Path, demo: Demo) -> None:
    folder = demo.folder
    query = json.loads(demo.ended.stdout)["query"]
    ended = run(embedded, folder, "lookalike", "search", query, "--rerank", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["results"]


_ANOTHER_HEAD = """
from pathlib import Path

import numpy as np

from ml.model.default import write_default
from ml.model.head import Head, LinearMap
from ml.model.writer import replace_head

turned = np.linalg.qr(np.random.default_rng(0).standard_normal((1280, 64)))[0].T.astype(np.float32)
replace_head(write_default(Path("default")), Head(False, LinearMap(turned)), Path("other"), name="other")
"""


def test_everything_but_training_works_without_torch(embedded: Path, demo: Demo) -> None:
    folder = demo.folder
    query = json.loads(demo.ended.stdout)["query"]
    made = run(embedded, folder, "python", "-c", _ANOTHER_HEAD)
    assert made.returncode == 0, made.stderr
    with running(embedded, folder):
        published = report_of(embedded, folder, "publish", "other", "--force")
        assert published["map@r"] is not None  # the check has compared both models
        assert report_of(embedded, folder, "search", query)["model"] == published["model"]
        assert report_of(embedded, folder, "rollback")["model"] != published["model"]
        assert report_of(embedded, folder, "verify")
        assert report_of(embedded, folder, "duplicates")
        assert report_of(embedded, folder, "export", "active", "--onnx", "model.onnx")["dim"] == 1280
        assert report_of(embedded, folder, "backup", "backup")


def report_of(programs: Path, folder: Path, *command: str) -> dict[str, Any]:
    """What `lookalike COMMAND --json` prints, which must have worked."""
    ended = run(programs, folder, "lookalike", *command, "--json")
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def test_a_command_that_finds_only_some_of_its_packages_names_its_extra_too(embedded: Path, demo: Demo) -> None:
    ended = run(embedded, demo.folder, "lookalike", "evaluate", "active", ".lookalike/demo-photos")
    assert ended.returncode == 1
    error = "lookalike evaluate needs the extra train: pip install 'lookalike[train]'"
    assert ended.stderr.splitlines()[-1] == f"error: {error}"
