"""The list of runs: what is committed, running or left, and what it cost."""

import json
import sys
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))
from warehouse import manifest_of, put_shard, track_row

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import Session, commit_run
from catalog_tagger.tables.lease import Lease
from catalog_tagger.tagging.bundle_set import load_bundles
from catalog_tagger.tagging.config import make_config
from catalog_tagger.tagging.estimate import plan_only
from catalog_tagger.tagging.plan import make_plan, write_plan
from catalog_tagger.tagging.runs import RunSummary, list_runs, machine_seconds
from catalog_tagger.tagging.track_list import TRACK_LIST

NOW = datetime.now(timezone.utc)


def session(*, began_s: float, seen_s: float, nodes: int = 2, node_s: float = 0.0) -> Session:
    """One that began and was last seen so many seconds ago."""
    return Session(
        driver="host:1",
        started_at=(NOW - timedelta(seconds=began_s)).isoformat(),
        last_seen_at=(NOW - timedelta(seconds=seen_s)).isoformat(),
        nodes=nodes,
        cpus=4,
        gpus=0,
        node_s=node_s,
    )


def put_lease(store: Store, run_id: str, number: int, held: Session, *, ended: bool) -> None:
    lease = Lease(number=number, owner="o", machine="m", process="1/1", beat=1, ended=ended, session=held)
    store.write(f"runs/{run_id}/lease/{number:04d}.json", lease.to_json())


def begin(store: Store, run_id: str, *, tracks: int = 4, finished: int = 0, **config: Any) -> None:
    """A run with a plan of two tracks a shard, of which some are finished."""
    rows = [{"track_id": f"{i}", "uri": f"/audio/{i}.mp3", "etag": "e", "size_bytes": 10} for i in range(tracks)]
    plan = make_plan(pa.Table.from_pylist(rows, schema=TRACK_LIST), shard_tracks=2, shard_bytes=20)
    write_plan(store, f"runs/{run_id}/plan-x", plan)
    job = {
        "source": "/audio",
        "bundles": ["m@1"],
        "plan": f"runs/{run_id}/plan-x",
        "tracks": tracks,
        "shards": len(plan["shard"].unique()),
        "size_bytes": 10 * tracks,
        "up_to_date": 0,
        "removed": 1,
        "started_at": NOW.isoformat(),
        "config": config,
    }
    store.write(f"runs/{run_id}/job.json", json.dumps(job).encode())
    for shard in plan["shard"].unique().to_pylist()[:finished]:
        ids = plan.filter(pa.compute.equal(plan["shard"], shard))["track_id"].to_pylist()
        put_shard(store, run_id=run_id, shard=shard, rows=[track_row(i, run_id=run_id, minute=0) for i in ids])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("catalog_tagger.tagging.plan._MIN_SHARD_TRACKS", 10**6)
    monkeypatch.setattr("catalog_tagger.tagging.plan._MIN_SHARD_BYTES", 10**9)
    return Store(tmp_path / "w")


def only(store: Store) -> RunSummary:
    (run,) = list_runs(store)
    return run


def test_a_committed_run_is_told_by_its_manifest(store: Store) -> None:
    files = put_shard(store, run_id="r", shard="s", rows=[track_row("x", run_id="r", minute=0)])
    sessions = [session(began_s=7200, seen_s=3600, node_s=5400.0), session(began_s=3600, seen_s=0, nodes=3)]
    manifest = replace(
        manifest_of("r", files),
        config={"cost_per_hour": 0.5},
        sessions=sessions,
        removed=2,
        size_bytes=9,
        audio_s=72_000.0,
    )
    commit_run(store, manifest)
    run = only(store)
    assert (run.state, run.tracks, run.tagged, run.quarantined, run.removed, run.size_bytes) == (
        *("committed", 1, 1, 0, 2),
        9,
    )
    assert run.wall_s == pytest.approx(7200)
    assert run.machine_s == pytest.approx(5400 + 3 * 3600)
    assert run.times_real_time == pytest.approx(10.0)
    assert run.cost == pytest.approx((1.5 + 3) * 0.5)
    assert (run.sessions, run.bundles) == (2, ["m@1"])


def test_a_run_from_before_sessions_were_kept_has_no_machine_time(store: Store) -> None:
    commit_run(store, manifest_of("r", put_shard(store, run_id="r", shard="s", rows=[])))
    run = only(store)
    assert (run.machine_s, run.cost, run.wall_s, run.times_real_time) == (None, None, 2.0, 0.5)


def test_an_unfinished_run_is_told_by_what_it_has_finished(store: Store) -> None:
    begin(store, "r", tracks=6, finished=2, cost_per_hour=2.0)
    put_lease(store, "r", 1, session(began_s=3600, seen_s=1800), ended=True)
    run = only(store)
    assert (run.state, run.tracks, run.tagged, run.quarantined) == ("unfinished", 6, 4, 0)
    assert (run.committed_at, run.removed, run.size_bytes) == (None, 1, 60)
    assert run.audio_s == pytest.approx(4 * 2 * 5.0)
    assert run.machine_s == pytest.approx(2 * 1800)
    assert run.cost == pytest.approx(2.0)


@pytest.mark.parametrize(("finished", "left"), [(0, 6), (2, 2), (3, 0)])
def test_a_dry_run_of_an_unfinished_run_is_about_what_is_left(
    finished: int, left: int, store: Store, bundle: str
) -> None:
    begin(store, "r", tracks=6, finished=finished)
    planned = plan_only(make_config(source="/audio", warehouse=store.root, run_id="r", bundles=(bundle,)))
    assert (planned.tracks, planned.shards, planned.up_to_date) == (left, left // 2, 6 - left)
    assert planned.size_bytes == 10 * left


def test_a_dry_run_without_a_name_leaves_out_what_an_unfinished_run_has_done(
    store: Store, bundle: str, tmp_path: Path
) -> None:
    """The job would finish that run first, and then do what is new or has changed since."""
    source = tmp_path / "m.csv"
    begin(store, "r", tracks=6, finished=2)
    etags = {0: "e", 1: "changed", 4: "e", 7: "e"}  # done, done but changed since, planned, new
    source.write_text(
        "track_id,uri,etag,size_bytes\n" + "".join(f"{i},/audio/{i}.mp3,{etag},10\n" for i, etag in etags.items())
    )
    config = make_config(source=str(source), warehouse=store.root, bundles=(bundle,))
    assert plan_only(config).tracks == 4, "a run of another source has nothing to do with it"
    job = json.loads(store.read("runs/r/job.json"))
    job |= {"source": str(source), "bundles": load_bundles([bundle]).ids}
    store.write("runs/r/job.json", json.dumps(job).encode())
    planned = plan_only(config)
    assert (planned.tracks, planned.up_to_date, planned.size_bytes) == (3, 1, 30)


def test_a_dry_run_of_a_finished_run_has_nothing_to_do(store: Store, bundle: str) -> None:
    files = put_shard(store, run_id="r", shard="s", rows=[track_row("x", run_id="r", minute=0)])
    commit_run(store, manifest_of("r", files))
    planned = plan_only(make_config(source="/audio", warehouse=store.root, run_id="r", bundles=(bundle,)))
    assert (planned.tracks, planned.up_to_date, planned.wall_s) == (0, 1, 0.0)


def test_a_file_of_another_plan_is_not_counted(store: Store) -> None:
    begin(store, "r", tracks=6, finished=1)
    put_shard(store, run_id="r", shard="000001-other", rows=[track_row("9", run_id="r", minute=0)])
    assert only(store).tagged == 2


@pytest.mark.parametrize(
    ("leases", "state"),
    [
        ([], "unfinished"),
        ([(5, False)], "running"),
        ([(5, True)], "unfinished"),
        ([(59, False)], "running"),
        ([(70, False)], "unfinished"),
        ([(5, False), (5, True)], "unfinished"),
        ([(500, False), (5, False)], "running"),
        ([(5, True), (5, False)], "running"),
    ],
)
def test_a_run_is_running_while_its_newest_lease_is_alive(
    leases: list[tuple[float, bool]], state: str, store: Store
) -> None:
    begin(store, "r")
    for number, (seen_s, ended) in enumerate(leases, start=1):
        seen = (datetime.now(timezone.utc) - timedelta(seconds=seen_s)).isoformat()
        held = replace(session(began_s=1000, seen_s=0), last_seen_at=seen)
        put_lease(store, "r", number, held, ended=ended)
    assert only(store).state == state


def test_runs_are_in_the_order_they_began_and_a_plan_without_a_job_is_none(store: Store) -> None:
    begin(store, "a-later")
    commit_run(store, manifest_of("z-earlier", put_shard(store, run_id="z-earlier", shard="s", rows=[])))
    store.write("runs/b-nothing/retry.parquet", b"")
    assert [run.run_id for run in list_runs(store)] == ["z-earlier", "a-later"]


def test_a_place_without_runs_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no warehouse here"):
        list_runs(Store(tmp_path / "nowhere"))


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"plan": 1}'])
def test_a_damaged_job_is_one_error_that_names_it(data: bytes, store: Store) -> None:
    store.write("runs/r/job.json", data)
    with pytest.raises(StorageError, match=r"runs/r/job\.json: damaged"):
        list_runs(store)


def test_machine_time_is_what_was_counted_else_nodes_times_time() -> None:
    counted = session(began_s=100, seen_s=0, nodes=3, node_s=150.0)
    assert machine_seconds([counted]) == 150.0
    assert machine_seconds([replace(counted, node_s=0.0)]) == pytest.approx(300.0)
    assert machine_seconds([]) == 0.0


def test_a_summary_is_plain_data(store: Store) -> None:
    begin(store, "r")
    json.dumps(asdict(only(store)))
