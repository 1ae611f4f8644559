"""cluster.yaml against the schema of Ray's launcher, KubeRay's manifests by structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
MANIFESTS = ("raycluster.yaml", "rayjob.yaml")


def launcher() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return document


def manifest(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "cluster" / name).read_text())
    return document


def test_the_launcher_takes_cluster_yaml() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(launcher(), schema)
    validate_config(prepare_config(launcher()))  # as `ray up` does before it asks the cloud


def test_the_schema_refuses_what_is_misspelt() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**launcher(), "max_worker": 3}))


def test_roll_outs_never_take_nodes_with_gpus() -> None:
    for name, node in launcher()["available_node_types"].items():
        assert not ("GPU" in node["resources"] and "rollout" in node["resources"]), name
    rollout = launcher()["available_node_types"]["rollout"]["resources"]
    assert rollout["rollout"] == rollout["CPU"]


def test_the_head_alone_is_not_a_spot_machine() -> None:
    nodes = launcher()["available_node_types"]
    spot = {name for name, node in nodes.items() if "InstanceMarketOptions" in node["node_config"]}
    assert spot == set(nodes) - {launcher()["head_node_type"]}


def test_every_ray_start_asks_for_the_token_and_the_dashboard_listens_on_loopback() -> None:
    config = launcher()
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config[key]
        if "ray start" in command
    ]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token" in start for start in starts)
    assert "--dashboard-host 127.0.0.1" in starts[0]


def test_the_version_is_the_one_that_is_installed() -> None:
    assert manifest("raycluster.yaml")["spec"]["rayVersion"] == ray.__version__


def groups() -> list[dict[str, Any]]:
    spec = manifest("raycluster.yaml")["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def test_kuberay_would_take_the_cluster() -> None:
    """The rules of KubeRay's own validation (ray-operator, utils/validation.go, read)."""
    document = manifest("raycluster.yaml")
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayCluster")
    assert document["spec"]["authOptions"] == {"mode": "token"}
    for group in groups():
        assert "labels" not in group["rayStartParams"] and "resources" not in group
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]}
    for group in groups()[1:]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_roll_outs_prefer_spot_nodes_and_take_others() -> None:
    (rollout,) = [group for group in groups()[1:] if group["groupName"] == "rollout"]
    assert 1 <= rollout["minReplicas"] < rollout["maxReplicas"]
    pod = rollout["template"]["spec"]
    affinity = pod["affinity"]["nodeAffinity"]
    assert list(affinity) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    spot = {
        rule["key"]
        for choice in affinity["preferredDuringSchedulingIgnoredDuringExecution"]
        for rule in choice["preference"]["matchExpressions"]
    }
    assert {toleration["key"] for toleration in pod["tolerations"]} <= spot


def test_pods_with_gpus_offer_no_place_for_roll_outs() -> None:
    for group in groups():
        # KubeRay hands the value to a shell, so the JSON is quoted once more.
        offered = json.loads(json.loads(group["rayStartParams"]["resources"].strip("'")))
        (container,) = group["template"]["spec"]["containers"]
        if "nvidia.com/gpu" in container["resources"]["limits"]:
            assert "rollout" not in offered
        if "rollout" in offered:
            assert str(offered["rollout"]) == container["resources"]["limits"]["cpu"]


def test_the_job_names_that_cluster_and_resumes() -> None:
    job = manifest("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["clusterSelector"] == {
        "ray.io/cluster": manifest("raycluster.yaml")["metadata"]["name"]
    }
    assert "backoffLimit" not in job["spec"]  # refused together with clusterSelector
    assert "--resume" in job["spec"]["entrypoint"]
    assert json.loads(job["spec"]["entrypointResources"]) == {"learner": 1}
    own = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())["env_vars"]
    theirs = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
    assert theirs.items() <= own.items()


@pytest.mark.parametrize("name", ["cluster.yaml", "runtime_env.yaml", *MANIFESTS])
def test_no_secret_stands_in_a_file(name: str) -> None:
    place = ROOT / ("docs/cluster" if name in MANIFESTS else "") / name
    text = place.read_text().lower()
    for word in ("ray_auth_token", "aws_secret", "password", "api_key"):
        assert word not in text, f"{name} holds {word}"
