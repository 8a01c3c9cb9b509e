"""What a job counts arrives where Prometheus looks, events are lines of JSON, and dashboards name what exists."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from conftest import BROKEN, ROOT, TRACKS, write_catalogue
from job_runs import run

from catalog_tagger.logs import Log, actor_log, driver_log
from catalog_tagger.tagging import metrics

GRAFANA = ROOT / "deploy" / "grafana"
SAMPLE = re.compile(r"^ray_(catalog_tagger_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def scraped() -> dict[tuple[str, str], float]:
    """(name, labels) -> value, of this node."""
    import ray

    (node,) = ray.nodes()
    place = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(place, timeout=10) as answer:
        text = answer.read().decode()
    return {(name, labels): float(value) for name, labels, value in SAMPLE.findall(text)}


def total(found: dict[tuple[str, str], float], name: str, *labels: str) -> float:
    return sum(value for (one, said), value in found.items() if one == name and all(label in said for label in labels))


@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("local_ray")
def test_a_job_is_counted_where_prometheus_looks(bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.jsonl"
    monkeypatch.setenv("CATALOG_TAGGER_LOG", str(log))
    source = tmp_path / "audio"
    source.mkdir()
    write_catalogue(source)
    run(source, tmp_path / "tags", bundle, run_id="counted")
    deadline = time.monotonic() + 40
    own, found = 'run_id="counted"', {}
    while total(found, "catalog_tagger_tracks_total", own) < len(TRACKS) + len(BROKEN):
        assert time.monotonic() < deadline, sorted(found)
        time.sleep(0.5)
        found = scraped()
    assert total(found, "catalog_tagger_tracks_total", own, 'status="tagged"') == len(TRACKS)
    for _, code in BROKEN.values():
        assert total(found, "catalog_tagger_tracks_total", own, f'code="{code}"') == 1
    assert total(found, "catalog_tagger_audio_seconds_total", own) == pytest.approx(35.3, abs=0.5)
    assert total(found, "catalog_tagger_shards_total", own, 'outcome="written"') >= 1
    for stage in ("decode", "score", "write"):
        assert total(found, "catalog_tagger_stage_seconds_count", own, f'stage="{stage}"') >= 1
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events] == ["run_begun", "run_committed"]
    assert {event["run_id"] for event in events} == {"counted"}
    assert events[1]["quarantined"] == len(BROKEN)


def names_in(text: str) -> set[str]:
    return set(re.findall(r"ray_(catalog_tagger_\w+)", text))


def test_dashboards_and_alerts_ask_for_what_is_counted() -> None:
    exported = {f"{name}{suffix}" for name in metrics.NAMES for suffix in ("", "_total", "_bucket", "_count", "_sum")}
    dashboard = (GRAFANA / "dashboard.json").read_text()
    rules = (GRAFANA / "alerts.yaml").read_text()
    assert names_in(dashboard) <= exported
    assert names_in(rules) <= exported
    told = {name.removesuffix("_total").removesuffix("_bucket") for name in names_in(dashboard)}
    assert told == set(metrics.NAMES), "the dashboard shows all of them"
    panels = json.loads(dashboard)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"][key] for key in "xy") for panel in panels]
    assert len(set(places)) == len(places)


def test_every_alert_has_a_part_of_the_runbook() -> None:
    (group,) = yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"]
    headings = re.findall(r"^### (\w+)$", (ROOT / "deploy" / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert [rule["alert"] for rule in group["rules"]] == headings
    for rule in group["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{rule['alert'].lower()}"


def test_events_are_lines_with_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    actor_log(run_id="r", shard="s").event("track_quarantined", track_id='a "b"\n', code="empty", uri=None)
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert {key: said[key] for key in ("event", "run_id", "shard", "track_id", "code")} == {
        "event": "track_quarantined",
        "run_id": "r",
        "shard": "s",
        "track_id": 'a "b"\n',
        "code": "empty",
    }
    assert "uri" not in said


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALOG_TAGGER_LOG", str(tmp_path / "nowhere" / "log"))
    driver_log(run_id="r").event("run_begun")
    monkeypatch.delenv("CATALOG_TAGGER_LOG")
    driver_log(run_id="r").event("run_begun")
    Log(None).event("nothing")
