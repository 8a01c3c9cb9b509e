"""The arithmetic of a dry run, and what it takes for measured."""

import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))
from warehouse import put_run, track_row

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, Session
from catalog_tagger.tagging.config import make_config
from catalog_tagger.tagging.estimate import (
    DEFAULT_RATE,
    START_S,
    Rates,
    audio_seconds,
    bytes_by_extension,
    core_seconds,
    cost_of,
    measured_rate,
    measured_rates,
    plan_only,
    usable_cpus,
    wall_seconds,
)
from catalog_tagger.tagging.track_list import TRACK_LIST


def session(wall_s: float, *, nodes: int = 1, cpus: int = 2, node_s: float | None = None) -> Session:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return Session(
        driver="host:1",
        started_at=start.isoformat(),
        last_seen_at=(start + timedelta(seconds=wall_s)).isoformat(),
        nodes=nodes,
        cpus=cpus,
        gpus=0,
        node_s=wall_s * nodes if node_s is None else node_s,
    )


def run(audio_s: float, *sessions: Session) -> RunManifest:
    values: dict[str, Any] = dict.fromkeys(("run_id", "started_at", "committed_at", "source"), "x")
    counts = dict.fromkeys(("tracks", "tagged", "quarantined", "segments", "up_to_date"), 0)
    maps: dict[str, Any] = {"versions": {}, "config": {}, "quarantined_by_code": {}, "workers": {}}
    lists: dict[str, Any] = {"bundles": [], "files": [], "sessions": list(sessions)}
    return RunManifest(**values, **counts, **maps, **lists, audio_s=audio_s, wall_s=1.0)


rates = st.builds(
    Rates,
    rate_per_core=st.floats(1, 1e4),
    bytes_per_s=st.dictionaries(st.sampled_from(["mp3", "wav", "ogg"]), st.floats(100, 1e6)),
)
sizes = st.dictionaries(st.sampled_from(["mp3", "wav", "flac", "opus", "x"]), st.integers(1, 10**15), min_size=1)


@given(rates=rates, sizes=sizes, more=st.integers(1, 10**12))
def test_more_bytes_are_never_less_audio_and_parts_add_up(rates: Rates, sizes: dict[str, int], more: int) -> None:
    whole = audio_seconds(sizes, rates)
    parts = sum(audio_seconds({name: size}, rates) for name, size in sizes.items())
    assert whole == pytest.approx(parts)
    first = next(iter(sizes))
    assert audio_seconds({**sizes, first: sizes[first] + more}, rates) >= whole


@given(rates=rates, sizes=sizes, share=st.floats(0, 0.99))
def test_tracks_of_unknown_size_count_as_the_mean_of_the_others(
    rates: Rates, sizes: dict[str, int], share: float
) -> None:
    known = audio_seconds(sizes, rates)
    assert audio_seconds(sizes, rates, unknown_share=share) * (1 - share) == pytest.approx(known)


def test_where_no_size_is_known_nothing_is_claimed() -> None:
    assert audio_seconds({}, Rates(bytes_per_s={}), unknown_share=1.0) is None


@given(audio_s=st.floats(0, 1e12), rate=st.floats(1, 1e4), cores=st.integers(1, 10**5), factor=st.integers(2, 50))
def test_work_is_shared_by_cores_and_the_start_is_not(audio_s: float, rate: float, cores: int, factor: int) -> None:
    one = wall_seconds(audio_s, rate_per_core=rate, cores=cores)
    many = wall_seconds(audio_s, rate_per_core=rate, cores=cores * factor)
    assert (one - START_S) == pytest.approx((many - START_S) * factor, abs=1e-6, rel=1e-6)
    assert START_S <= many <= one


@given(wall_s=st.floats(0, 1e9), nodes=st.integers(1, 10**4), price=st.floats(0, 100))
def test_cost_is_hours_times_nodes_times_price(wall_s: float, nodes: int, price: float) -> None:
    cost = cost_of(wall_s, nodes=nodes, cost_per_hour=price)
    assert cost == pytest.approx(wall_s / 3600 * nodes * price)
    assert cost_of(wall_s, nodes=nodes, cost_per_hour=None) is None


@given(rate=st.floats(10, 2000), hours=st.floats(0.1, 100), nodes=st.integers(1, 20), cpus=st.integers(1, 64))
def test_an_estimate_by_a_measured_run_gives_that_run_back(rate: float, hours: float, nodes: int, cpus: int) -> None:
    """A run at a rate, then the same audio on the same machines: the same time."""
    cores = nodes * cpus
    wall_s = START_S + hours * 3600
    audio_s = rate * cores * hours * 3600
    measured, used = measured_rate([run(audio_s, session(wall_s, nodes=nodes, cpus=cores))])
    assert len(used) == 1
    assert measured == pytest.approx(rate)
    assert wall_seconds(audio_s, rate_per_core=measured, cores=cores) == pytest.approx(wall_s)


def test_runs_that_hardly_worked_are_no_measurement() -> None:
    short = run(1000.0, session(START_S + 5))
    assert measured_rate([]) == (DEFAULT_RATE, [])
    assert measured_rate([short]) == (DEFAULT_RATE, [])
    assert measured_rate([short, run(50.0), short]) == (DEFAULT_RATE, [])
    long = run(600_000.0, session(START_S + 1000))
    rate, used = measured_rate([run(50.0), long])
    assert (rate, used) == (pytest.approx(300.0), [long])


def test_runs_with_the_same_bundles_count_before_others() -> None:
    mine, other = ("a@1", "b@2"), ("a@1",)
    slow = replace(run(100_000.0, session(START_S + 1000)), bundles=["a@0", "b@0"])
    quick = replace(run(600_000.0, session(START_S + 1000)), bundles=list(other))
    assert measured_rate([slow, quick], bundle_ids=mine) == (pytest.approx(50.0), [slow])
    assert measured_rate([slow, quick], bundle_ids=other) == (pytest.approx(300.0), [quick])
    assert measured_rate([quick], bundle_ids=mine) == (pytest.approx(300.0), [quick]), "better than no measurement"


def test_more_bundles_take_longer_by_default() -> None:
    rates_of = [measured_rate([], bundle_ids=[f"b{i}@0" for i in range(count)])[0] for count in (1, 2, 3)]
    assert rates_of == [DEFAULT_RATE, pytest.approx(DEFAULT_RATE / 1.2), pytest.approx(DEFAULT_RATE / 1.4)]


def test_nodes_that_came_late_count_for_the_time_they_were_there() -> None:
    steady = session(1010, nodes=2, cpus=8)
    assert core_seconds([steady]) == pytest.approx(8 * 1000)
    late = replace(steady, node_s=1010.0)  # as much machine time as one node for all of it
    assert core_seconds([late]) == pytest.approx(8 * (505 - START_S))
    assert core_seconds([session(3)]) == 0.0
    assert core_seconds([steady, steady]) == 2 * core_seconds([steady])


def test_bytes_go_by_the_extension_of_tracks_and_members() -> None:
    rows = [
        {"track_id": "1", "uri": "/a/x.MP3", "size_bytes": 5},
        {"track_id": "2", "uri": "/a/s.tar#d.e/y.mp3", "size_bytes": 7},
        {"track_id": "3", "uri": "s3://b/z.flac", "size_bytes": 11},
        {"track_id": "4", "uri": "s3://b/z.wav", "size_bytes": None},
    ]
    assert bytes_by_extension(pa.Table.from_pylist(rows, schema=TRACK_LIST)) == {"mp3": 12, "flac": 11}


EXTENSIONS = {
    "s3://b/aa01": "",
    "s3://bucket.name/x/y": "",
    "/v1.2/track9": "",
    "/v1.2/track9.OGG": "ogg",
    "/m/x.tar#a": "",
    "/m/x.tar#d.e/a": "",
    "/m/x.tar#d/a.Mp3": "mp3",
    "/m/#1 [live].mp3": "mp3",
    "/m/a.b\nc.wav": "wav",
    "/m/ends.": "",
}


@pytest.mark.parametrize(("uri", "extension"), EXTENSIONS.items())
def test_planned_and_measured_tracks_go_by_one_extension(uri: str, extension: str, tmp_path: Path) -> None:
    planned = pa.Table.from_pylist([{"track_id": "1", "uri": uri, "size_bytes": 5}], schema=TRACK_LIST)
    assert bytes_by_extension(planned) == {extension: 5}
    put_run(Store(tmp_path), "r", [track_row("x", run_id="r", minute=1, uri=uri, size_bytes=800, duration_s=2.0)])
    assert measured_rates(Store(tmp_path)).bytes_per_s == {extension: 400.0}


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "99999999 1000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_cpus_are_those_of_the_container(files: dict[str, str], cpus: int | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == (cpus or len(os.sched_getaffinity(0)))


def test_cpus_are_those_that_the_process_may_run_on() -> None:
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, mine)


# --- plans of real sources -------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.mp3").write_bytes(bytes(16_000 * 60))
    return folder


def test_a_plan_alone_counts_and_writes_nothing(source: Path, bundle: str, tmp_path: Path) -> None:
    config = make_config(
        source=str(source), warehouse=str(tmp_path / "w"), bundles=(bundle,), shard_tracks=2, cost_per_hour=1.5
    )
    planned = plan_only(config, nodes=3, cpus=4)
    assert (planned.tracks, planned.up_to_date, planned.removed) == (4, 0, 0)
    assert planned.shards == 2
    assert planned.size_bytes == 4 * 16_000 * 60
    assert planned.audio_s == pytest.approx(240.0)
    assert planned.wall_s == pytest.approx(START_S + 240.0 / (DEFAULT_RATE * 12))
    assert planned.cost == pytest.approx(planned.wall_s / 3600 * 3 * 1.5)
    assert (planned.measured_runs, planned.default_extensions) == (0, ("mp3",))
    assert not (tmp_path / "w").exists()


def test_lengths_come_from_tracks_of_the_same_extension(source: Path, bundle: str, tmp_path: Path) -> None:
    long = {"duration_s": 100.0, "size_bytes": 800_000, "uri": "/a/x.MP3"}
    put_run(Store(tmp_path / "w"), "r", [track_row("x", run_id="r", minute=1, **long)])
    config = make_config(source=str(source), warehouse=str(tmp_path / "w"), bundles=(bundle,))
    planned = plan_only(config)
    assert planned.audio_s == pytest.approx(4 * 16_000 * 60 / 8_000)
    assert (planned.measured_extensions, planned.default_extensions) == (("mp3",), ())


def test_a_plan_without_any_size_claims_neither_time_nor_cost(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("track_id,uri\n1,gone/1.mp3\n2,gone/2.mp3\n")
    config = make_config(
        source=f"{tmp_path}/m.csv", warehouse=str(tmp_path / "w"), bundles=(bundle,), cost_per_hour=1.5
    )
    planned = plan_only(config)
    assert (planned.tracks, planned.tracks_without_size, planned.size_bytes) == (2, 2, 0)
    assert (planned.audio_s, planned.wall_s, planned.cost) == (None, None, None)
    nothing = plan_only(config, tracks=TRACK_LIST.empty_table())
    assert (nothing.tracks, nothing.audio_s, nothing.wall_s, nothing.cost) == (0, 0.0, 0.0, 0.0)
