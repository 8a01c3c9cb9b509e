"""What a job without a run's name does about runs that were left unfinished."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from audio_files import wav_bytes
from job_runs import rows

from catalog_tagger.errors import RunError
from catalog_tagger.storage import Store
from catalog_tagger.tables import lease
from catalog_tagger.tables.commit import unfinished_runs
from catalog_tagger.tables.lease import hold
from catalog_tagger.tagging import job
from catalog_tagger.tagging.config import TagConfig, make_config
from catalog_tagger.tagging.job import run_tag_job

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("local_ray")]


def put(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(wav_bytes(np.ones(16000, np.int16)))


def stopped(tmp_path: Path, bundle: str, **values: object) -> TagConfig:
    """A job over two tracks that was stopped before its run was committed."""
    put(tmp_path / "audio", "a.wav")
    put(tmp_path / "audio", "b.wav")
    config = make_config(source=str(tmp_path / "audio"), warehouse=str(tmp_path / "w"), bundles=(bundle,), **values)
    with pytest.MonkeyPatch.context() as patch:

        def stop(*_: object) -> bool:
            raise KeyboardInterrupt

        patch.setattr(job, "commit_run", stop)
        with pytest.raises(KeyboardInterrupt):
            run_tag_job(config)
    return config


@pytest.fixture
def config(tmp_path: Path, bundle: str) -> TagConfig:
    return stopped(tmp_path, bundle)


def again(config: TagConfig, **changes: object) -> TagConfig:
    """The same job, given anew."""
    return make_config(source=config.source, warehouse=config.warehouse, bundles=config.bundles, **changes)


def test_the_same_job_finishes_the_run_that_was_left(config: TagConfig) -> None:
    (left,) = unfinished_runs(Store(config.warehouse))
    result = run_tag_job(again(config))
    assert (result.state, result.run_id, result.finished) == ("committed", left, left)
    assert unfinished_runs(Store(config.warehouse)) == []
    assert len(rows(config.warehouse, "SELECT 1 FROM tracks_history")) == 2
    assert run_tag_job(again(config)).state == "nothing_to_do"


def test_what_has_changed_since_is_done_after_it(config: TagConfig) -> None:
    (left,) = unfinished_runs(Store(config.warehouse))
    (Path(config.source) / "c.wav").write_bytes(b"no audio at all")
    result = run_tag_job(again(config))
    assert (result.state, result.finished) == ("committed", left)
    assert result.run_id != left
    assert result.manifest is not None
    assert (result.manifest.tracks, result.up_to_date, result.exit_code) == (1, 2, 3)
    assert unfinished_runs(Store(config.warehouse)) == []
    found = rows(config.warehouse, "SELECT track_id, run_id FROM tracks_history ORDER BY track_id")
    assert [(row["track_id"], row["run_id"] == left) for row in found] == [
        ("a.wav", True),
        ("b.wav", True),
        ("c.wav", False),
    ]


def test_the_same_job_beside_one_that_works_is_refused_and_a_name_of_its_own_is_not(config: TagConfig) -> None:
    store = Store(config.warehouse)
    (left,) = unfinished_runs(store)
    with hold(store, left):
        with pytest.raises(RunError, match=f"run {left} is being worked on by .*; let it end"):
            run_tag_job(again(config))
        assert run_tag_job(again(config, run_id="mine")).state == "committed"


def test_a_resumed_run_keeps_the_price_it_was_started_with(tmp_path: Path, bundle: str) -> None:
    config = stopped(tmp_path, bundle, cost_per_hour=2.5)
    result = run_tag_job(again(config))
    assert result.manifest is not None
    assert result.manifest.config["cost_per_hour"] == 2.5


def test_a_driver_that_died_on_another_machine_is_waited_out_and_its_run_finished(
    config: TagConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "STALE_S", 2.0)
    store = Store(config.warehouse)
    (left,) = unfinished_runs(store)
    name = f"runs/{left}/lease/0001.json"
    ahead = (datetime.now(timezone.utc) + timedelta(minutes=10)).isoformat()  # by a clock of its own
    found = json.loads(store.read(name))
    found |= {"machine": "elsewhere/1/2", "ended": False, "session": {**found["session"], "last_seen_at": ahead}}
    store.write(name, json.dumps(found).encode())
    assert run_tag_job(again(config)).finished == left


def test_a_name_of_its_own_leaves_other_runs_alone(config: TagConfig) -> None:
    (left,) = unfinished_runs(Store(config.warehouse))
    result = run_tag_job(again(config, run_id="mine"))
    assert (result.run_id, result.finished, result.unfinished_runs) == ("mine", None, (left,))


def test_runs_of_another_source_are_left_alone(config: TagConfig, tmp_path: Path) -> None:
    (left,) = unfinished_runs(Store(config.warehouse))
    put(tmp_path / "other", "d.wav")
    result = run_tag_job(
        make_config(source=str(tmp_path / "other"), warehouse=config.warehouse, bundles=config.bundles)
    )
    assert (result.finished, result.unfinished_runs) == (None, (left,))
