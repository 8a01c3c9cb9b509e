"""What is deployed fits its schema, and names what there is: images, jobs, keys."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from catalog_tagger.nightly.config import load_nightly_config

DEPLOY = ROOT / "deploy"
KUBERNETES = "1.31"


def of_yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return content


def require_valid(manifest: dict[str, Any]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def require_pod(template: dict[str, Any]) -> None:
    """The template of a node is that of a pod, with requests, limits and volumes that are there."""
    require_valid({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}, "spec": template["spec"]})
    volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
    for container in template["spec"]["containers"]:
        assert {"requests", "limits"} <= set(container["resources"])
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def require_cluster(spec: dict[str, Any]) -> None:
    assert set(spec) <= {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    assert spec["rayVersion"].startswith(ray_release())
    assert set(spec["headGroupSpec"]) == {"rayStartParams", "template"}
    require_pod(spec["headGroupSpec"]["template"])
    for group in spec["workerGroupSpecs"]:
        assert set(group) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        require_pod(group["template"])


def ray_release() -> str:
    found = re.search(r"ray\[[^\]]*\]==(\d+\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert found is not None
    return found[1]


def test_a_cluster_that_stays() -> None:
    manifest = of_yaml("kuberay/cluster.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    require_cluster(manifest["spec"])


def test_a_job_with_a_cluster_of_its_own() -> None:
    manifest = of_yaml("kuberay/job.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    spec = manifest["spec"]
    known = "entrypoint shutdownAfterJobFinishes ttlSecondsAfterFinished backoffLimit submissionMode rayClusterSpec"
    assert set(spec) <= set(known.split())
    require_cluster(spec["rayClusterSpec"])
    require_jobs(spec["entrypoint"])


def test_pods_act_as_an_account_that_is_there() -> None:
    account = of_yaml("kuberay/account.yaml")
    require_valid(account)
    for name in ("cluster", "job", "nightly"):
        named = re.findall(r"serviceAccountName: (\S+)", (DEPLOY / "kuberay" / f"{name}.yaml").read_text())
        assert set(named) == {account["metadata"]["name"]}


def test_every_night() -> None:
    manifest = of_yaml("kuberay/nightly.yaml")
    require_valid(manifest)
    (container,) = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    require_jobs(" ".join(container["command"] + container["args"]))


def require_jobs(text: str) -> None:
    jobs = re.findall(r"jobs/\w+\.py", text)
    assert jobs
    for job in jobs:
        assert (ROOT / job).is_file(), job


def test_a_cluster_on_aws() -> None:
    import ray.autoscaler
    from jsonschema import validate

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    cluster = of_yaml("aws/cluster.yaml")
    validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]


def test_the_image_is_made_of_what_is_here() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    pins = re.findall(r"(torch|torchaudio)==([\d.]+)", text)
    project = (ROOT / "pyproject.toml").read_text()
    assert pins
    for name, number in pins:
        assert f'"{name}=={number}"' in project


@pytest.mark.parametrize("name", ["catalog-tagger.service", "catalog-tagger.timer"])
def test_units_of_systemd(name: str, tmp_path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "machine" / name)
    assert unit["Unit"]["Description"]
    if name.endswith(".service"):
        require_jobs(unit["Service"]["ExecStart"])
    if shutil.which("systemd-analyze") is None:
        pytest.skip("read as a file alone: no systemd-analyze here")
    text = (DEPLOY / "machine" / name).read_text()
    here = re.sub(r"/opt/catalog-tagger/\S*python", "/bin/true", text).replace("User=catalog-tagger", "User=root")
    (tmp_path / name).write_text(re.sub(r"WorkingDirectory=\S+", "WorkingDirectory=/", here))
    if name.endswith(".timer"):
        (tmp_path / "catalog-tagger.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_line_of_cron() -> None:
    (line,) = [line for line in (DEPLOY / "machine" / "crontab").read_text().splitlines() if line and line[0] != "#"]
    assert re.match(r"(\S+ ){5}cd ", line)
    require_jobs(line)


def test_the_configuration_of_a_night() -> None:
    config = load_nightly_config(DEPLOY / "nightly.yaml")
    assert config.reconcile_config() is not None
    assert config.prune_after_days == 90
