"""deploy/k8s renders to objects that Kubernetes, KEDA and KubeRay accept, and that agree with the code.

Kubernetes' schemas and KEDA's come from packages. No package has KubeRay's: its object is checked against the fields
that its reference names, and its pods against Kubernetes' schema.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from tests.deploy.deployments import KUBERNETES, ROOT, kustomize, pod_templates, rendered, secrets_folder, settings_of
from workers import settings
from workers.queue.app import QUEUES
from workers.queue.questions import WAITING
from workers.settings import Settings

OVERLAYS = ("cpu", "gpu", "cpu+s3")
VERSIONS = ("1.31", "1.34")
WORKERS = ("worker-search", "worker-index")

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def _all(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    return {thing["metadata"]["name"]: thing for thing in rendered(overlay) if thing["kind"] == kind}


def test_yamllint_finds_nothing() -> None:
    config = YamlLintConfig(
        "{extends: default, rules: {line-length: {max: 130}, document-start: disable, truthy: disable}}"
    )
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*.yml"), *(ROOT / "deploy").rglob("*.yaml")]
    problems = [f"{path.name}: {p}" for path in files for p in linter.run(path.read_text("utf-8"), config)]
    assert problems == []


@every_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(overlay: str, version: str) -> None:
    for thing in rendered(overlay):
        if "." not in thing["apiVersion"].split("/")[0] or thing["apiVersion"].split("/")[0].endswith(".k8s.io"):
            kubernetes_validate.validate(thing, version, strict=True)


@every_overlay
def test_keda_knows_every_field(overlay: str) -> None:
    from cloudcoil.models.keda import v1alpha1

    scaled = [thing for thing in rendered(overlay) if thing["apiVersion"].startswith("keda.sh/")]
    assert {thing["kind"] for thing in scaled} == {"ScaledObject", "TriggerAuthentication"}
    for thing in scaled:
        understood = getattr(v1alpha1, thing["kind"]).model_validate(thing)
        # What it does not know it leaves out.
        assert understood.model_dump(by_alias=True, exclude_unset=True, mode="json")["spec"] == thing["spec"]


@every_overlay
def test_kuberay_gets_what_its_reference_names(overlay: str) -> None:
    spec = _all(overlay, "RayCluster")["training"]["spec"]
    assert spec.keys() == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert spec["authOptions"] == {"mode": "token", "secretName": "lookalike-ray"}
    assert spec["headGroupSpec"].keys() == {"rayStartParams", "template"}
    assert spec["headGroupSpec"]["rayStartParams"]["include-dashboard"] == "false"
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned and spec["rayVersion"] == pinned[1]
    for group in spec["workerGroupSpecs"]:
        assert group.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for name, template in pod_templates(overlay).items():
        if name.startswith("training"):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}
            kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)


@every_overlay
def test_every_pod_fits_the_restricted_profile(overlay: str) -> None:
    assert len(pod_templates(overlay)) == 8
    for name, template in pod_templates(overlay).items():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["serviceAccountName"] == "lookalike", name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            allowed = container["securityContext"]
            assert allowed["capabilities"] == {"drop": ["ALL"]}, name
            assert allowed["allowPrivilegeEscalation"] is False, name
            assert allowed["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            assert container.keys() >= {"livenessProbe", "readinessProbe"}, name
    namespace = _all(overlay, "Namespace")["lookalike"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@every_overlay
def test_every_variable_is_a_setting_that_the_code_can_read(overlay: str) -> None:
    known = {f.metadata[key] for f in fields(Settings) for key in ("env", "file")} - {""}
    of_others = {"FORWARDED_ALLOW_IPS", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SHARED_CREDENTIALS_FILE"}
    of_others.add("RAY_AUTH_TOKEN_PATH")
    for name, template in pod_templates(overlay).items():
        if name in ("redis", "qdrant"):
            continue
        given = settings_of(template, overlay)
        assert set(given) - known - of_others == set(), name
        items = next(v["secret"]["items"] for v in template["spec"]["volumes"] if v["name"] == "secrets")
        for variable, value in given.items():
            if value.startswith("/run/secrets/lookalike/"):
                assert Path(value).name in {item["path"] for item in items}, (name, variable)
                given[variable] = str(secrets_folder() / Path(value).name)
        read = settings.load(given)
        assert not read.is_embedded_redis, name
        assert read.is_embedded_qdrant == (name not in WORKERS), name
        assert bool(read.api_tokens) == (name == "web"), name
        assert read.storage.startswith("s3://" if overlay.endswith("s3") else "file:///data"), name
        assert read.device in (("cuda",) if overlay == "gpu" and name in WORKERS else ("cpu", "auto")), name


@every_overlay
def test_workers_alone_have_the_key_of_qdrant_and_the_way_to_it(overlay: str) -> None:
    for name, template in pod_templates(overlay).items():
        if name in ("redis", "qdrant"):
            continue
        (items,) = [v["secret"]["items"] for v in template["spec"]["volumes"] if v["name"] == "secrets"]
        assert ("qdrant_api_key" in {item["key"] for item in items}) == (name in WORKERS), name
        assert ("LOOKALIKE_QDRANT_URL" in settings_of(template, overlay)) == (name in WORKERS), name
    for name, policy in _all(overlay, "NetworkPolicy").items():
        ports = {port["port"] for rule in policy["spec"].get("egress", []) for port in rule.get("ports", [])}
        assert (6333 in ports) == (name == "worker"), name
    admitted = _all(overlay, "NetworkPolicy")["qdrant"]["spec"]["ingress"][0]["from"]
    assert admitted == [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "worker"}}}]


@every_overlay
def test_what_the_portal_starts_is_trained_by_a_service_that_takes_it_from_the_queue(overlay: str) -> None:
    (container,) = pod_templates(overlay)["trainer"]["spec"]["containers"]
    assert container["args"] == ["lookalike", "trainer"]
    assert container["livenessProbe"]["exec"]["command"] == ["python", "-m", "workers.life_sign"]
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (overlay == "gpu")
    (rule,) = _all(overlay, "NetworkPolicy")["trainer"]["spec"]["egress"]
    assert rule["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}]
    (admitted,) = _all(overlay, "NetworkPolicy")["redis"]["spec"]["ingress"]
    (named,) = [each["podSelector"] for each in admitted["from"] if "matchExpressions" in each.get("podSelector", {})]
    assert "trainer" in named["matchExpressions"][0]["values"]


@every_overlay
def test_every_queue_has_a_worker_and_a_scaler(overlay: str) -> None:
    taken = [
        queue
        for name in WORKERS
        for queue in settings_of(pod_templates(overlay)[name], overlay)["LOOKALIKE_QUEUES"].split(",")
    ]
    assert sorted(taken) == sorted(QUEUES)
    watched = []
    for name, scaled in _all(overlay, "ScaledObject").items():
        assert scaled["spec"]["scaleTargetRef"]["name"] == name
        own = settings_of(pod_templates(overlay)[name], overlay)["LOOKALIKE_QUEUES"].split(",")
        for trigger in scaled["spec"]["triggers"]:
            listed = trigger["metadata"]["listName"]
            assert listed in own or (listed == WAITING and "search" in own)
            assert trigger["authenticationRef"]["name"] in _all(overlay, "TriggerAuthentication")
            watched.append(listed)
        assert scaled["spec"]["minReplicaCount"] >= 1  # somebody must take the probes that go through the queues
    assert sorted(watched) == sorted((*QUEUES, WAITING))


@every_overlay
def test_what_is_scaled_has_no_number_of_its_own(overlay: str) -> None:
    for name, deployment in _all(overlay, "Deployment").items():
        assert "replicas" not in deployment["spec"], name


@every_overlay
def test_every_selector_finds_its_pods(overlay: str) -> None:
    labels = [template["metadata"]["labels"] for template in pod_templates(overlay).values()]
    for kind, where in (("Service", "selector"), ("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for name, thing in _all(overlay, kind).items():
            selector = thing["spec"][where]
            wanted = selector.get("matchLabels", {}) if kind != "Service" else selector
            assert any(wanted.items() <= own.items() for own in labels), (kind, name)


@every_overlay
def test_nothing_may_talk_before_it_is_allowed_to(overlay: str) -> None:
    denied = _all(overlay, "NetworkPolicy")["default-deny"]["spec"]
    assert denied["podSelector"] == {} and set(denied["policyTypes"]) == {"Ingress", "Egress"}
    assert denied.keys() == {"podSelector", "policyTypes"}


def test_a_worker_has_the_time_to_finish_what_it_began() -> None:
    for name in WORKERS:
        assert pod_templates("cpu")[name]["spec"]["terminationGracePeriodSeconds"] >= 65


def test_every_image_of_ours_has_a_target() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "deploy/docker/Dockerfile").read_text("utf-8"), re.M))
    for overlay in OVERLAYS:
        for template in pod_templates(overlay).values():
            image, _, tag = template["spec"]["containers"][0]["image"].partition(":")
            assert re.search(r"\d", tag)
            assert not image.startswith("lookalike-") or image.removeprefix("lookalike-") in targets


def test_secrets_are_made_from_files_and_missing_ones_stop_it(tmp_path: Path) -> None:
    copy = tmp_path / "kustomization.yaml"
    copy.write_text((KUBERNETES / "secrets/kustomization.yaml").read_text())
    assert "no such file" in kustomize(tmp_path).stderr
    for file in secrets_folder().iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    made = {thing["metadata"]["name"]: thing["data"] for thing in yaml.safe_load_all(kustomize(tmp_path).stdout)}
    assert made["lookalike-ray"].keys() == {"auth_token"}
    for name, template in pod_templates("cpu+s3").items():
        for volume in template["spec"].get("volumes", []):
            if "secret" in volume:
                known = made[volume["secret"]["secretName"]].keys()
                assert {item["key"] for item in volume["secret"]["items"]} <= known, name


def test_a_store_of_objects_has_an_address_and_the_way_to_it() -> None:
    (settings,) = [
        thing["data"]
        for thing in rendered("cpu+s3")
        if thing["kind"] == "ConfigMap" and thing["metadata"]["name"].startswith("lookalike-settings")
    ]
    assert settings["AWS_ENDPOINT_URL"].startswith("https://")
    (policy,) = [thing for thing in rendered("cpu+s3") if thing["metadata"]["name"] == "object-storage"]
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == {443, 9000}


def test_names_are_found_where_a_node_caches_them() -> None:
    (policy,) = [
        thing for thing in rendered("cpu") if (thing["kind"], thing["metadata"]["name"]) == ("NetworkPolicy", "names")
    ]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in policy["spec"]["egress"][0]["to"]
