"""Sweeps: what is tried, what is kept, and what is never done twice."""

from collections.abc import Iterator

import pytest

from ml.data.datasets import BadDataset
from ml.errors import LookalikeError
from ml.model.upgrade import load_bundle
from ml.ray_cluster.session import session
from ml.sweeps import search_space
from ml.sweeps.plan import DEFAULT_SPACE, SweepPlan
from ml.sweeps.record import Record
from ml.sweeps.run import sweep
from ml.sweeps.search_space import BadSearchSpace
from ml.training.checkpoints import TrainingFailed
from ml.training.config import TrainConfig
from tests.ml.conftest import quick

# Ray starts a process for every slot and data set, each of which imports torch: minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    with session(cpus=2):
        yield


def _plan(*lines: str, **options: object) -> SweepPlan:
    base = quick(head="none", **{"epochs": 2} | options.pop("base", {}))
    return SweepPlan(search_space.parse(lines, TrainConfig), base, **({"search": "grid"} | options))


def _record(folder, plan: SweepPlan) -> Record:
    return Record.new(folder / "sweeps" / "try", plan.to_json())


@pytest.fixture(scope="module")
def swept(ray_here, products, tmp_path_factory):
    plan = _plan("lr=1e-4,0.02", "temperature=0.05,0.1", scheduler="none")
    record = _record(tmp_path_factory.mktemp("swept"), plan)
    return plan, sweep(plan, [products], record)


def test_a_grid_tries_every_combination_and_finds_the_best(swept):
    _, found = swept
    trials = [trial for trial in found.record.trials.values() if not found.record.is_measurement(trial)]
    assert [trial.state for trial in trials] == ["done"] * 4
    assert found.best.map_at_r == max(trial.map_at_r for trial in trials)
    assert (found.model / "model.json").exists()


def test_the_winner_is_measured_anew_with_a_seed_and_classes_that_it_was_not_chosen_by(swept):
    _, found = swept
    (again,) = [trial for trial in found.record.trials.values() if found.record.is_measurement(trial)]
    assert again.settings == found.best.settings
    assert again.seed not in {trial.seed for trial in found.best.trials}
    assert found.measured.map_at_r == again.map_at_r
    assert found.model == found.record.directory / again.model
    chosen_by = load_bundle(found.record.directory / found.best.done[0].model).lineage["held_out_classes"]
    assert not set(load_bundle(found.model).lineage["held_out_classes"]) & set(chosen_by)


def test_images_are_decoded_once_for_all_trials(swept, products):
    assert swept[1].decoded == 2 * len(products)  # once for training, once for measuring


def test_every_trial_has_a_log(swept):
    record = swept[1].record
    assert all("epoch 2" in record.log_file(id).read_text() for id in record.trials)


def test_every_trial_has_curves_and_hyper_parameters_for_tensorboard(swept):
    folder = swept[1].record.directory / "runs"
    runs = [run for run in folder.iterdir() if run.is_dir()]
    assert len(runs) == len(swept[1].record.trials)
    assert all(list((run / "tensorboard").glob("events.out.tfevents.*")) for run in runs)


def test_a_finished_sweep_has_nothing_left_to_do(swept, products):
    _, found = swept
    before = {id: trial.seconds for id, trial in found.record.trials.items()}
    again = sweep(SweepPlan.from_json(found.record.plan), [products], Record.load(found.record.directory))
    assert {id: trial.seconds for id, trial in again.record.trials.items()} == before
    assert again.decoded == 0
    assert again.best.settings == found.best.settings


def test_asha_ends_trials_that_fall_behind(ray_here, products, tmp_path):
    plan = _plan("lr=1e-4,0.05,0.1,0.07,0.15,0.2", base={"epochs": 6})
    found = sweep(plan, [products], _record(tmp_path, plan))
    trials = [trial for trial in found.record.trials.values() if not found.record.is_measurement(trial)]
    pruned = [trial for trial in trials if trial.state == "pruned"]
    # Six see their first epoch, the best two of them the third, the better one the end.
    assert sorted(len(trial.history) for trial in trials) == [1, 1, 1, 1, 3, 6]
    assert [[item["epoch"] for item in trial.history] for trial in trials if trial.state == "done"] == [
        [1, 2, 3, 4, 5, 6]
    ]
    assert not any(trial.model for trial in pruned)
    first = {trial.id: trial.history[0]["map_at_r"] for trial in trials}
    went_on = {trial.id for trial in trials if len(trial.history) > 1}
    assert min(first[id] for id in went_on) >= max(first[id] for id in first.keys() - went_on)
    before = {trial.id: (trial.state, len(trial.history)) for trial in found.record.trials.values()}
    again = sweep(SweepPlan.from_json(found.record.plan), [products], Record.load(found.record.directory))
    assert {trial.id: (trial.state, len(trial.history)) for trial in again.record.trials.values()} == before


def test_optuna_and_seeds_on_two_data_sets(ray_here, products, tmp_path):
    other = products.subset(range(24, 48))
    other = type(other)("other", other.paths, other.labels, other.classes, other.sha256)
    plan = _plan("lr=log:1e-5..1e-3", search="optuna", trials=1, repeats=2, base={"epochs": 1})
    found = sweep(plan, [products, other], _record(tmp_path, plan))
    assert {(trial.data, trial.seed) for trial in found.record.trials.values()} == {
        (name, seed)
        for name in (products.name, "other")
        for seed in (0, 1, 2)  # the last measures the winner
    }


def test_a_sweep_whose_every_trial_fails_says_why_and_keeps_the_logs(ray_here, products, tmp_path):
    plan = _plan("loss=tests.ml.training.own_code:FailingLoss", "lr=1e-4,1e-3")
    record = _record(tmp_path, plan)
    reason = "all 2 trials failed, the first because .*no such features"
    with pytest.raises(TrainingFailed, match=reason):
        sweep(plan, [products], record)
    assert all("Traceback" in record.log_file(id).read_text() for id in record.trials)


def test_a_second_sweep_in_the_same_folder_is_refused_before_it_writes(ray_here, products, tmp_path):
    plan = _plan("loss=tests.ml.training.own_code:FailingLoss", "lr=1e-4,1e-3")
    record = _record(tmp_path, plan)
    refusals = []

    def begin_again(_record: Record) -> None:
        again = Record.load(record.directory)
        for begin in (again.save, lambda: sweep(plan, [products], again)):
            with pytest.raises(LookalikeError, match="sweep try is under way already"):
                begin()
            refusals.append(begin)

    with pytest.raises(TrainingFailed):
        sweep(plan, [products], record, on_change=begin_again)
    assert len(refusals) >= 4
    Record.load(record.directory).save()


def test_too_few_classes_to_hold_some_out_are_refused(products, tmp_path):
    plan = _plan("lr=1e-4,1e-3")
    with pytest.raises(BadDataset, match="too few classes"):
        sweep(plan, [products.subset(range(18))], _record(tmp_path, plan))


def test_a_value_with_which_no_trial_could_begin_is_refused():
    for grid in ("loss=normsoftmax,supconn", "lr=-1..1", "train_px=int:48..50000"):
        with pytest.raises(LookalikeError, match=f"{grid.partition('=')[0]} must"):
            _plan(grid)
    with pytest.raises(LookalikeError, match="there is no backbone 'resnet5'"):
        _plan("backbone=resnet50,resnet5")
    plan = _plan("loss=normsoftmax,triplet", "miner=own,BatchHardMiner")
    assert len(plan.space) == 2, "a miner that one loss takes, and the other does not"


@pytest.mark.parametrize("line", ["loss=normsoftmax,losses:Mine", "augmentation_class=losses:Mine"])
def test_code_that_cannot_be_made_is_refused_before_anything_runs(line, products, tmp_path):
    plan = _plan(line)
    record = _record(tmp_path, plan)
    with pytest.raises(LookalikeError, match=r"losses:Mine cannot be imported"):
        sweep(plan, [products], record)
    assert not record.trials


def test_what_decides_the_measurement_cannot_be_searched():
    with pytest.raises(BadSearchSpace, match="holdout"):
        _plan("holdout=0.1,0.2")
    with pytest.raises(BadSearchSpace, match="the search space is empty"):
        _plan()
    with pytest.raises(BadSearchSpace, match="no hyper-parameter 'speed'"):
        _plan("speed=1,2")


def test_a_plan_survives_its_file():
    plan = SweepPlan(DEFAULT_SPACE, quick(), repeats=3)
    assert SweepPlan.from_json(plan.to_json()) == plan


def test_an_unknown_sweep_is_named(tmp_path):
    with pytest.raises(LookalikeError, match="no sweep 'nothing'"):
        Record.load(tmp_path / "nothing")
