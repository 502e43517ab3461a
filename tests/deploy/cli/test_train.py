"""`lookalike train`, `evaluate` and `models`, as a person types them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from deploy.cli.__main__ import run
from deploy.cli.console import Console
from deploy.cli.models import publish_and_show
from deploy.cli.train import _show_trained
from tests.ml.conftest import write_image
from tests.ml.training.test_recipes import write_cub
from workers import settings
from workers.errors import Refused

QUICK = ["--epochs", "2", "--train-px", "64", "--test-px", "64", "--dim", "32", "--holdout", "0.25"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def _lookalike(home: Path, *arguments: str) -> tuple[int, str, str]:
    """Runs the program as a process: exit status, stdout, stderr."""
    environment = os.environ | {"LOOKALIKE_HOME": str(home), "TERM": "dumb", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments], env=environment, capture_output=True, text=True, timeout=280
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def trained(home, demo_photos):
    status, out, err = _lookalike(home, "train", str(demo_photos), "--test", str(demo_photos), *QUICK, "--json")
    assert status == 0, err
    return json.loads(out), err


def test_train_prints_one_object_with_the_model_and_its_figures(trained):
    found, err = trained
    assert {"model", "recall@1", "map@r", "seconds", "threshold", "held_out_map@r"} <= set(found)
    assert 0 < found["held_out_map@r_before"] < 1
    assert "epoch  1 of 2" in err and "epoch  2 of 2" in err
    assert "images/s" in err and "left" in err


def test_tensorboard_logs_lie_in_the_run(trained, home):
    assert list((home / "runs").glob("*/tensorboard/events.out.tfevents.*"))


def test_models_lists_what_was_trained(trained, home):
    status, out, _ = _lookalike(home, "models", "--json")
    found = json.loads(out)
    assert status == 0
    (record,) = [record for record in found["models"] if record["name"] == trained[0]["model"]]
    assert record["dim"] == 32
    assert record["metrics"]["map@r"] == trained[0]["map@r"]
    assert len(record["lineage"]["data"]["fingerprint"]) == 64


def test_evaluate_gives_the_same_figures_again_and_a_report(trained, home, demo_photos, tmp_path):
    report = tmp_path / "report.html"
    status, out, err = _lookalike(
        home,
        "evaluate",
        trained[0]["model"],
        str(demo_photos),
        "--rerank",
        "--binary",
        "--report",
        str(report),
        "--json",
    )
    assert status == 0, err
    found = json.loads(out)
    assert found["map@r"] == pytest.approx(trained[0]["map@r"], abs=1e-6)
    assert {"rerank_map@r", "binary_map@r", "nmi", "report"} <= set(found)
    assert report.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "is empty"),
        (lambda p: write_image(p / "only" / "1.jpg"), "one class"),
        (lambda p: (p / "a").mkdir() or (p / "a" / "t.txt").write_text("x"), "no image that can be read"),
    ],
)
def test_bad_folders_end_with_one_line_and_status_one(tmp_path, make, message, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    runner = CliRunner()
    with runner.isolation() as streams:
        status = run(["train", str(folder)], Console())
        errors = streams[1].getvalue().decode()
    assert status == 1
    assert f"{message}" in errors and "hint:" in errors
    assert "Traceback" not in errors


def test_evaluate_says_what_each_figure_means(trained, home, demo_photos):
    status, out, err = _lookalike(home, "evaluate", trained[0]["model"], str(demo_photos))
    assert status == 0, err
    rows = [line for line in out.splitlines() if line.startswith(("map@r", "recall@1", "median_rank", "threshold"))]
    assert len(rows) == 4
    figure = r"\S+ +[\d.]+( %( \([\d.]+ to [\d.]+\))?)? +\w+ .+"
    assert all(re.match(figure, row) for row in rows), out


def test_photos_that_the_model_was_trained_on_are_told(trained, home, demo_photos, monkeypatch, capsys):
    monkeypatch.setenv("LOOKALIKE_HOME", str(home))
    assert run(["evaluate", trained[0]["model"], str(demo_photos), "--json"], Console()) == 0
    said = capsys.readouterr()
    measured = json.loads(said.out)
    told = f"{trained[0]['model']} was trained on {measured['images']} of these {measured['images']} photos"
    assert told in said.err and told in measured["notes"][0]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_vectors_go_into_a_file_and_measure_as_the_model_does(
    suffix, trained, home, demo_photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("LOOKALIKE_HOME", str(home))
    file = tmp_path / f"vectors{suffix}"
    name = trained[0]["model"]
    assert run(["embed", str(demo_photos), "-o", str(file), "--model", name, "--json"], Console()) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["model"], written["dim"], written["file"]) == (name, 32, str(file))
    assert run(["evaluate", "--embeddings", str(file), "--json"], Console()) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["images"] == written["images"] and measured["model"] == name
    assert measured["map@r"] == pytest.approx(trained[0]["map@r"], abs=1e-6)


def test_vectors_of_few_photos_are_measured_as_honestly_as_a_model(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOOKALIKE_HOME", str(home))
    vectors = np.eye(6, 8, dtype=np.float32)
    np.savez(tmp_path / "vectors.npz", vectors=vectors, labels=np.array(list("aabbcc")))
    assert run(["evaluate", "--embeddings", str(tmp_path / "vectors.npz")], Console()) == 0
    told = capsys.readouterr()
    assert "note: not measured how true probabilities of hits are" in told.err
    assert "among 4 wrong ones" in told.out and "99" not in told.out


def test_strict_ends_a_run_with_notes_on_its_data_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_HOME", str(tmp_path / "home"))
    for label in ("a", "b"):
        for number in range(2):
            write_image(tmp_path / "data" / label / f"{number}.jpg", seed=number)
    runner = CliRunner()
    with runner.isolation() as streams:
        status = run(["train", str(tmp_path / "data"), "--strict"], Console())
        err = streams[1].getvalue().decode()
    assert status == 1
    assert "note: 2 images lie in more than one class" in err and "notes on the data" in err
    assert not (tmp_path / "home" / "runs").exists(), "nothing was trained"


def test_a_run_that_is_no_better_than_untrained_says_so_first(capsys):
    figures = {"held_out_map@r": 0.33, "held_out_map@r_before": 0.6, "held_out_recall@1": 0.5}
    facts = {"seconds": 1.0, "held_out_classes": 4, "holdout": {"split": "classes"}, "is_worse": True}
    publish_and_show(Console(), settings.load({}), {"model": "bad"} | facts | figures, _show_trained, publish=False)
    first, *rest = capsys.readouterr().out.splitlines()
    assert "NO BETTER THAN AN UNTRAINED ONE" in first and "--force" in first
    assert any("33.0 (before training 60.0)" in line for line in rest)
    assert rest[-1] == "make it answer all the same: lookalike publish bad --force"


def test_that_verdict_says_how_sure_it_is_where_few_classes_were_held_out(capsys):
    figures = {"held_out_map@r": 0.33, "held_out_map@r_before": 0.6, "held_out_recall@1": 0.5}
    facts = {"seconds": 1.0, "held_out_classes": 2, "holdout": {"split": "classes"}, "is_worse": True}
    publish_and_show(Console(), settings.load({}), {"model": "bad"} | facts | figures, _show_trained, publish=False)
    first, *rest = capsys.readouterr().out.splitlines()
    assert "NO BETTER THAN AN UNTRAINED ONE on 2 held-out classes, too few to be sure" in first
    assert not any("so few classes" in line for line in rest), "said already"


def test_what_was_published_is_not_told_to_be(capsys, monkeypatch):
    monkeypatch.setattr("deploy.cli.models._connect_and_publish", lambda console, settings, model: {"job": "1"})
    facts = {"model": "good", "seconds": 1.0, "is_worse": False}
    publish_and_show(Console(), settings.load({}), dict(facts), _show_trained, publish=False)
    assert capsys.readouterr().out.endswith("make it answer: lookalike publish good\n")
    publish_and_show(Console(), settings.load({}), facts | {"is_active": True}, _show_trained, publish=False)
    assert capsys.readouterr().out.endswith("good answers searches already\n")
    publish_and_show(Console(), settings.load({}), dict(facts), _show_trained, publish=True)
    assert capsys.readouterr().out.endswith("good answers searches now; back to the one before: lookalike rollback\n")


def test_what_was_trained_is_told_also_when_it_cannot_be_published(capsys, monkeypatch):
    def refuse(console, settings, model):
        raise Refused("it is worse")

    monkeypatch.setattr("deploy.cli.models._connect_and_publish", refuse)
    for is_json, told in ((False, "make it answer: lookalike publish good"), (True, '"model": "good"')):
        facts = {"model": "good", "seconds": 1.0, "is_worse": False}
        console = Console()
        console.is_json = is_json
        with pytest.raises(Refused):
            publish_and_show(console, settings.load({}), facts, _show_trained, publish=True)
        assert told in capsys.readouterr().out


def test_an_unknown_model_names_the_known_ones(trained, home, demo_photos):
    status, out, err = _lookalike(home, "evaluate", "nothing", str(demo_photos))
    assert status == 1 and out == ""
    assert "there is no model nothing" in err and trained[0]["model"] in err


def _start(home, *arguments):
    environment = os.environ | {"LOOKALIKE_HOME": str(home), "TERM": "dumb", "OMP_NUM_THREADS": "2"}
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("blow", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_run_that_was_killed_or_interrupted_goes_on_with_resume(tmp_path, demo_photos, blow, status):
    command = ["train", str(demo_photos), *QUICK[2:], "--epochs", "3"]
    with _start(tmp_path, *command) as process:
        for line in process.stderr:
            if line.startswith("epoch  1 of 3"):
                process.send_signal(blow)
                break
        errors = process.stderr.read()
        assert process.wait(timeout=120) == status, errors
    code, out, err = _lookalike(tmp_path, *command, "--resume", "--json")
    assert code == 0, err
    kept = int(re.search(r"went on after epoch (\d)", err)[1])
    if blow == signal.SIGINT:
        assert f"{kept} of 3 epochs are kept: the same command with --resume goes on after them" in errors
    assert "epoch  1 of 3" not in err
    assert "epoch  3 of 3" in err
    assert json.loads(out)["model"]


def test_a_recipe_trains_and_measures_by_the_papers_protocol(home, tmp_path):
    write_cub(tmp_path)
    arguments = ["--recipe", "cub200", "--backbone", "efficientnet_lite0", "--images-per-class", "2", *QUICK[2:6]]
    status, out, err = _lookalike(home, "train", str(tmp_path), *arguments, "--epochs", "1", "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["recipe"] == "cub200" and facts["paper"] == {"recall@1": 65.36, "binary_recall@1": 63.67}
    assert {"recall@1", "recall@8", "map@r", "binary_recall@1"} <= set(facts)
    assert facts["model"].startswith("cub-200-2011-train")


def test_a_recipe_and_a_preset_are_wrong_usage(home, tmp_path):
    status, _, err = _lookalike(home, "train", str(tmp_path), "--recipe", "cub200", "--preset", "fast")
    assert status == 2
    assert "--recipe stands for --preset and --test" in err


def test_what_the_gallerys_photos_brought_is_told_and_marked_where_they_are_the_test(capsys):
    tuning = {"scheme": {"shrinkage": 1.0}, "map@r_before": 0.711, "map@r": 0.793, "photos": 300}
    facts = {"seconds": 1.0, "held_out_classes": 4, "holdout": {}, "is_worse": False, "tuning": tuning}
    test = {"map@r": 0.8, "map@r_before_tuning": 0.66, "recall@1": 0.9, "transductive": 150}
    _show_trained(Console(), {"model": "good"} | facts | test)
    told = capsys.readouterr().out
    assert "held-out classes 71.1 → 79.3, new queries" in told
    assert "fitted to 300 photos of the gallery" in told
    assert "test: mAP@R 80.0 (before the gallery's photos 66.0), recall@1 90.0" in told
    assert "transductive: 150 test photos" in told
