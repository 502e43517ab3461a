"""Dashboard and alerts ask for what the code measures, and every alert has its runbook."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import redis
import yaml

from tests.deploy.deployments import ROOT, composed
from workers import metrics

MONITORING = ROOT / "deploy/docker/monitoring"
OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")


def _alerts() -> list[dict]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _dashboard() -> dict:
    return json.loads((MONITORING / "dashboards/lookalike.json").read_text("utf-8"))


def _expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in _alerts())
    yield from (target["expr"] for panel in _dashboard()["panels"] for target in panel["targets"])


def _measured(server: redis.Redis) -> dict[str, set[str]]:
    """name of each family -> its labels, as the code declares them."""
    families: dict[str, set[str]] = {}
    for value in vars(metrics).values():
        if hasattr(value, "_labelnames") and hasattr(value, "describe"):
            for family in value.describe():
                families[family.name] = set(value._labelnames)
    for family in metrics.SystemCollector(server).collect():
        families[family.name] = set(family._labelnames)
    return families


def test_they_ask_for_nothing_that_is_not_measured(queue: redis.Redis) -> None:
    measured = _measured(queue)
    for expression in _expressions():
        for name in re.findall(r"\blookalike_\w+", expression):
            assert re.sub(r"_(bucket|count|sum|total)$", "", name) in measured, name


def test_they_filter_by_labels_that_exist(queue: redis.Redis) -> None:
    measured = _measured(queue)
    for expression in _expressions():
        for name, filters in re.findall(r"\b(lookalike_\w+)\{([^}]*)\}", expression):
            family = re.sub(r"_(bucket|count|sum|total)$", "", name)
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", filters)) <= measured[family], expression


def test_everything_that_is_measured_is_shown(queue: redis.Redis) -> None:
    shown = " ".join(target["expr"] for panel in _dashboard()["panels"] for target in panel["targets"])
    assert {name for name in _measured(queue) if name.startswith("lookalike_") and name not in shown} == set()


def test_every_measurement_is_documented(queue: redis.Redis) -> None:
    assert {name for name in _measured(queue) if f"`{name}" not in OPERATIONS} == set()


def test_every_alert_has_a_runbook() -> None:
    sections = {re.sub(r"[^\w -]", "", title).lower() for title in re.findall(r"^#+ (.+)$", OPERATIONS, re.M)}
    for rule in _alerts():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page).is_file()
        assert anchor == rule["alert"].lower()
        assert anchor in sections
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_promtool_accepts_the_alerts() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on the path: the Debian package prometheus brings it")
    checked = subprocess.run(
        [program, "check", "rules", str(MONITORING / "alerts.yml")], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_prometheus_asks_the_parts_that_there_are() -> None:
    asked = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    services = composed()["services"]
    for job in asked["scrape_configs"]:
        for found in job.get("dns_sd_configs", []):
            aliases = {
                alias
                for service in services.values()
                for network in (service.get("networks") or {}).values()
                for alias in (network or {}).get("aliases", ())
            }
            assert set(found["names"]) <= {"web", *aliases}, "parts that may not be there are asked for"
        if job["job_name"] == "worker":
            assert str(job["dns_sd_configs"][0]["port"]) == services["worker"]["environment"]["LOOKALIKE_METRICS_PORT"]
        if credentials := job.get("authorization", {}).get("credentials_file"):
            assert credentials.removeprefix("/run/secrets/") in {s["source"] for s in services["prometheus"]["secrets"]}


def test_the_dashboard_uses_the_source_that_is_provided() -> None:
    provided = yaml.safe_load((MONITORING / "provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert {panel["datasource"]["uid"] for panel in _dashboard()["panels"]} == {provided["datasources"][0]["uid"]}
    assert len({panel["id"] for panel in _dashboard()["panels"]}) == len(_dashboard()["panels"])
