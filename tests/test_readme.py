"""README promises nothing that no test holds: each of its sentences is in the table below, with the tests behind it.

A sentence is found by some of its words. One that is new, or promises something else, fails here until a test is named.
"""

import re
from functools import cache
from pathlib import Path

import click
import pytest

from deploy.cli.__main__ import program
from tests.documents import ROOT
from workers.settings import Settings

README = (ROOT / "README.md").read_text("utf-8")

# Words of a sentence, and "file::test" below tests/ for what it promises.
PROMISES: dict[str, tuple[str, ...]] = {
    "which of these look like this one": (
        "e2e/test_commands.py::test_search_of_a_real_photo_finds_itself_and_its_kind",
    ),
    "it trains a model that answers better": (
        "e2e/pages/test_models_page.py::test_a_model_is_trained_published_and_taken_back",
    ),
    "Give it machines": (
        "e2e/test_parts_apart.py::test_a_worker_and_a_portal_share_a_queue",
        "ml/ray_cluster/test_cluster.py::test_training_joins_the_cluster_that_ray_address_names",
    ),
    "takes your own photos, and keeps": (
        "deploy/test_makefile.py::test_make_demo_takes_photos_and_once",
        "e2e/test_commands.py::test_once_prints_ranked_results_and_stops",
    ),
    "prints the results of one search and stops": ("e2e/test_commands.py::test_once_prints_ranked_results_and_stops",),
    "installs about 580 MB": ("deploy/test_wheel.py::test_it_is_as_small_as_the_readme_says",),
    "nothing else on your machine changes": (
        "deploy/test_wheel.py::test_the_demo_leaves_what_it_keeps_in_one_folder",
        "e2e/test_commands.py::test_once_prints_ranked_results_and_stops",
    ),
    "adds what training needs": ("deploy/test_makefile.py::test_each_target_installs_what_it_is_for",),
    "needs an environment to itself": ("deploy/test_wheel.py::test_the_demo_runs_from_the_wheel",),
    "A command whose packages are not installed": (
        "deploy/test_wheel.py::test_a_command_whose_extra_is_missing_says_which_on_one_line",
    ),
    "Take `all` instead": ("deploy/test_wheel.py::test_every_extra_is_in_all_and_in_the_readme",),
    "JPEG, PNG, WebP": (
        "ml/images/test_decoding.py::test_it_reads_every_listed_format",
        "ml/images/test_decoding.py::test_exif_orientation_is_applied",
        "ml/images/test_colour.py::test_a_copy_in_another_colour_space_shows_the_same_colours",
        "ml/images/test_raw.py::test_it_is_developed_and_not_replaced_by_its_thumbnail",
    ),
    "A broken file is listed": ("e2e/test_commands.py::test_broken_files_are_listed_and_stop_nothing",),
    "Run `index` again": (
        "e2e/test_commands.py::test_index_adds_nothing_twice",
        "e2e/test_commands.py::test_an_interrupted_index_goes_on_when_it_is_run_again",
    ),
    "It says when nothing matches": (
        "ml/tuning/test_calibration.py::test_probabilities_come_true_on_classes_that_were_not_fitted_on",
        "e2e/pages/test_search_page.py::test_matches_stand_above_a_line_and_strangers_are_folded_away",
    ),
    "`tune` fits the model": ("test_readme.py::test_figures_are_those_of_the_page_that_measured_them",),
    "It finds copies of one photo": (
        "ml/images/test_copies.py::test_what_was_saved_anew_or_resized_is_the_same_image",
        "ml/images/test_copies.py::test_what_was_changed_is_a_near_copy",
        "web/test_duplicates_page.py::test_the_photo_with_the_most_pixels_is_suggested",
    ),
    "What you delete lies in the trash": (
        "workers/gallery/test_trash.py::test_what_is_deleted_does_not_exist_and_is_kept",
        "test_readme.py::test_defaults_are_those_of_the_settings",
    ),
    "`lookalike watch ~/Pictures`": (
        "e2e/test_watching.py::test_the_gallery_follows_the_disk_through_a_killed_worker",
    ),
    "A command that finds no running system": (
        "deploy/local/test_connection.py::test_without_a_system_one_is_started_and_stopped",
    ),
    "Everything is kept in `~/.lookalike`": ("workers/test_settings.py::test_the_defaults_are_those_of_one_machine",),
    "Originals are the truth": (
        "e2e/test_commands.py::test_verify_finds_and_repairs_what_is_missing",
        "e2e/test_damaged_files.py::test_a_collection_that_cannot_be_opened_is_made_anew",
    ),
    "Every command has `--help`": (
        "deploy/cli/test_program.py::test_every_command_has_help_with_an_example",
        "deploy/cli/test_program.py::test_every_command_that_ends_by_itself_has_json",
        "deploy/cli/test_program.py::test_with_json_nothing_else_reaches_stdout_whoever_prints",
    ),
    "The portal has a JSON API": ("web/test_openapi.py::test_every_route_of_the_api_is_in_it_and_no_other",),
    "The default model is EfficientNet-Lite0": ("ml/model/test_default.py::test_it_is_the_network_of_torch",),
    "The method for better ones is NormSoftmax": (
        "ml/training/test_losses.py::test_normsoftmax_has_the_value_and_gradients_of_pytorch_metric_learning",
        "ml/evaluation/test_metrics.py::test_it_agrees_with_pytorch_metric_learning",
    ),
    "A model carries its own preprocessing": (
        "ml/training/test_train.py::test_training_evaluation_and_search_see_the_same_vector",
        "ml/model/test_bundle.py::test_a_missing_field_of_the_preprocessing_is_an_error_and_never_a_default",
        "e2e/test_commands.py::test_search_finds_the_photo_itself_first",
    ),
    "*Models* page trains": ("e2e/pages/test_models_page.py::test_a_model_is_trained_published_and_taken_back",),
    "The same code runs embedded": ("e2e/test_moving.py::test_an_embedded_home_moves_to_servers",),
    "`lookalike up` keeps its services alive": (
        "deploy/local/test_supervisor.py::test_a_service_that_is_killed_comes_back",
        "deploy/local/test_stack.py::test_it_stops_everything_within_ten_seconds",
        "e2e/test_stack.py::test_after_kill_9_nothing_is_left_and_everything_is_there_again",
    ),
    "runs it in containers": (
        "containers/test_journeys.py::test_it_starts_with_two_workers_that_are_healthy",
        "deploy/test_kubernetes.py::test_kubernetes_knows_every_field",
    ),
    "has a [tutorial]": (
        "test_documents.py::test_links_to_files_lead_somewhere",
        "test_documents.py::test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere",
    ),
    "The [notebooks]": ("notebooks/test_notebooks.py::test_a_notebook_is_committed_with_small_outputs",),
}

# Lines of blocks and of tables, which are commands: what their words promise.
LINES: dict[str, tuple[str, ...]] = {
    "make demo ": ("deploy/test_makefile.py::test_make_demo_takes_photos_and_once",),
    "make test ": ("deploy/test_makefile.py::test_all_tests_run_in_two_processes_and_some_in_one",),
    "lookalike up ": ("e2e/test_stack.py::test_up_serves_and_stops_cleanly",),
    "lookalike index ": ("deploy/cli/test_find_files.py::test_the_label_is_the_name_of_the_folder",),
    "lookalike search ": ("e2e/pages/test_search_page.py::test_a_photo_shows_ranked_results_however_it_comes",),
    "lookalike tune ": (
        "ml/tuning/test_gallery_head.py::test_neighbours_are_right_more_often_on_photos_that_it_was_not_fitted_on",
        "workers/tasks/test_tuning.py::test_the_map_is_the_one_that_is_fitted_in_memory",
    ),
    "lookalike train ": (
        "deploy/cli/test_train.py::test_train_prints_one_object_with_the_model_and_its_figures",
        "workers/trainer/test_service.py::test_it_performs_what_a_portal_starts",
    ),
    "lookalike sweep ": ("ml/sweeps/test_run.py::test_a_grid_tries_every_combination_and_finds_the_best",),
    "lookalike evaluate ": ("deploy/cli/test_train.py::test_evaluate_gives_the_same_figures_again_and_a_report",),
    "lookalike publish ": (
        "e2e/test_publishing.py::test_publishing_under_load_never_shows",
        "e2e/test_publishing.py::test_rolling_back_is_instant_and_brings_what_is_new",
    ),
    "lookalike worker ": ("e2e/test_parts_apart.py::test_a_worker_and_a_portal_share_a_queue",),
    "lookalike web ": ("e2e/test_parts_apart.py::test_a_worker_and_a_portal_share_a_queue",),
    "lookalike status ": ("e2e/test_commands.py::test_status_says_what_serves_and_why",),
}

# What is said and promises nothing: what is needed, and where to read on.
SAID = (
    "Image search by example on your own photos",
    "You need Python 3.11",
    "Two commands:",
    "`pipx` and `uv tool` make one",
    "Only settings differ:",
    "What is defended against whom",
    "`ml/`: image embedding models",
    "tells how to work on it",
    "Apache-2.0, see",
)


def _sentences() -> list[str]:
    """What README says outside of its blocks, tables and headings, sentence by sentence."""
    prose = re.sub(r"(?s:^```.*?^```$|<!--.*?-->)|^\|.*$|^#.*$|^!\[.*$", "", README, flags=re.M)
    paragraphs = re.split(r"\n\s*\n|^- ", prose, flags=re.M)
    words = [" ".join(paragraph.replace("**", "").split()) for paragraph in paragraphs]
    return [
        sentence for paragraph in words for sentence in re.split(r"(?<=[.:?])\s+(?=[A-Z`*\[])", paragraph) if sentence
    ]


def _lines() -> list[str]:
    """The commands of its blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith(("lookalike ", "make "))]


@cache
def _tests(file: str) -> frozenset[str]:
    return frozenset(re.findall(r"^\s*def (test_\w+)\(", (Path(__file__).parent / file).read_text("utf-8"), re.M))


def test_every_sentence_has_a_test() -> None:
    known = (*PROMISES, *SAID)
    assert [sentence for sentence in _sentences() if not any(words in sentence for words in known)] == []
    assert [line for line in _lines() if not line.startswith(tuple(LINES))] == []


@pytest.mark.parametrize("words", [*PROMISES, *LINES])
def test_what_the_table_names_is_there(words: str) -> None:
    assert any(words in text for text in (*_sentences(), *_lines())), "README no longer says so"
    for name in (PROMISES | LINES)[words]:
        file, _, test = name.partition("::")
        assert test in _tests(file), name


def test_defaults_are_those_of_the_settings() -> None:
    assert f"in the trash for {Settings().trash_days} days" in README
    up = program.get_command(click.Context(program), "up")
    assert up
    defaults = {parameter.name: parameter.default for parameter in up.params}
    assert f"the portal is at http://{defaults['host']}:{defaults['port']}\n" in README


def test_figures_are_those_of_the_page_that_measured_them() -> None:
    said = re.search(r"raised mAP@R from (\d+) to (\d+) and recall@1 from (\d+) to (\d+)", README)
    page = (ROOT / "docs/benchmarks.md").read_text("utf-8")
    measured = re.search(r"new queries\*\*.*\| \*\*([\d.]+) → ([\d.]+)\*\* \| ([\d.]+) → ([\d.]+) \|", page)
    assert said and measured
    assert [int(figure) for figure in said.groups()] == [round(float(figure)) for figure in measured.groups()]
