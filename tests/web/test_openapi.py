"""The API's document says what the API does."""

import dataclasses
import json
import subprocess
import sys
import warnings

import pytest
from openapi_spec_validator import validate

from web.api.schemas import changes, coverage, duplicates, images, jobs, labelling, models, search, system, uploads
from workers import messages

ANSWERS = (
    *("Failure", "Health", "Image", "ImagePage", "Job", "LabelCount", "Labels", "Result", "SearchResult"),
    *(
        "Upload",
        "Uploaded",
        "Worker",
        "Change",
        "ReplacedLabel",
        "Undone",
        "Trash",
        "TrashedImage",
        "Removed",
        "Folders",
        "FolderCount",
        "Answers",
        "AnswerAbout",
        "GivenAnswer",
        "Proposal",
        "Proposals",
        "Outlier",
        "Outliers",
        "Duplicates",
        "Pair",
    ),
)


@pytest.fixture
def document(browser):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return browser.get("/api/v1/openapi.json").json


def test_it_is_valid(document):
    validate(document)


def test_every_route_of_the_api_is_in_it_and_no_other(app, document):
    routes = {
        (str(rule).replace("<", "{").replace(">", "}"), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint.startswith("api.")
    }
    documented = {(path, name) for path, item in document["paths"].items() for name in item if name != "parameters"}
    assert documented == routes


def test_every_operation_has_a_summary_a_tag_and_an_id_of_its_own(document):
    operations = [item[name] for item in document["paths"].values() for name in item if name != "parameters"]
    assert all(operation["summary"] and operation["tags"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


def test_every_error_is_a_problem(document):
    for item in document["paths"].values():
        for name, operation in item.items():
            for status, response in operation["responses"].items() if name != "parameters" else ():
                if status >= "400" and "application/json" not in response["content"]:
                    schema = response["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}


def test_search_takes_a_photo_or_an_image(document):
    content = document["paths"]["/api/v1/search"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    by_image = document["components"]["schemas"]["SearchById"]
    assert set(by_image["properties"]) == {"id", "k", "label", "rerank", "box", "more", "unlike", "strategy"}
    assert by_image["properties"]["k"]["example"] == 6


def test_every_field_of_an_answer_is_required(document):
    answers = {name: each for name, each in document["components"]["schemas"].items() if name in ANSWERS}
    assert set(answers) == set(ANSWERS)
    for name, schema in answers.items():
        assert set(schema["required"]) == set(schema["properties"]), name


def test_what_has_a_few_values_is_an_enum(document):
    schemas_of = document["components"]["schemas"]
    assert schemas_of["Job"]["properties"]["state"]["enum"] == list(jobs.STATES)
    assert schemas_of["Job"]["properties"]["kind"]["enum"] == list(jobs.KINDS)
    assert schemas_of["Uploaded"]["properties"]["outcome"]["enum"] == list(uploads.OUTCOMES)
    assert schemas_of["Worker"]["properties"]["queues"]["items"]["enum"] == list(system.QUEUES)


def test_a_generated_client_has_functions_that_read_well(document, tmp_path):
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    generate += ["--path", "openapi.json", "--output-path", "lookalike_client"]
    subprocess.run(generate, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    functions = {path.stem for path in (tmp_path / "lookalike_client" / "api").glob("*/*.py")} - {"__init__"}
    assert functions == {
        *("search", "list_images", "add_images", "get_image", "update_image", "delete_image"),
        *("get_thumbnail", "get_original", "get_view", "list_labels", "list_folders", "get_job", "get_health"),
        *(
            "list_jobs",
            "stop_job",
            "retry_job",
            "list_coverage",
            "list_duplicate_groups",
            "keep_one",
            "keep_apart",
            "retry_coverage",
            "find_photo",
        ),
        *("change_images", "replace_label", "undo_change", "list_trash", "restore_images", "empty_trash"),
        *("list_models", "publish_model", "get_preview", "train_model", "tune_model", "roll_back"),
        *("list_queries", "save_query", "save_photo_query", "forget_query", "restore_query"),
        *("find_duplicates", "list_duplicates", "give_answer", "list_answers"),
        *("list_unlabelled", "list_outliers"),
    }
    program = (
        "from lookalike_client.api.search import search; from lookalike_client.models import SearchById, SearchResult;"
        "asked = SearchById(id='0' * 32, k=3); search.sync, search.asyncio, SearchResult.from_dict;"
        "from lookalike_client.models import SearchByImage; from lookalike_client.types import File; import io;"
        "assert search._get_kwargs(body=asked)['json']['k'] == 3;"
        "assert search._get_kwargs(body=SearchByImage(image=File(io.BytesIO(b'x'), 'x.jpg')))['files']"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)


@pytest.mark.parametrize(
    "schema, message",
    [
        (search.Result, messages.Result),
        (search.SearchResult, messages.SearchResult),
        (images.Image, messages.GalleryImage),
        (changes.TrashedImage, messages.TrashedImage),
        (jobs.Job, messages.JobStatus),
        (jobs.Failure, messages.Failure),
        (duplicates.Pair, messages.Pair),
        (images.LabelCount, messages.LabelCount),
        (labelling.Proposal, messages.Proposal),
        (labelling.Proposals, messages.Proposals),
        (labelling.Outlier, messages.Outlier),
        (labelling.Outliers, messages.Outliers),
        (coverage.FolderCoverage, messages.FolderCoverage),
        (coverage.Whereabouts, messages.Whereabouts),
        (duplicates.CopyGroup, messages.CopyGroup),
        (models.SavedQuery, messages.SavedQuery),
        (models.PreviewedQuery, messages.PreviewedQuery),
        (models.PreviewedHit, messages.PreviewedHit),
        (system.Worker, messages.WorkerStatus),
        (system.Health, messages.SystemStatus),
    ],
    ids=lambda each: each.__name__,
)
def test_answers_have_the_fields_of_the_messages(schema, message):
    assert set(schema().fields) == {field.name for field in dataclasses.fields(message)}
