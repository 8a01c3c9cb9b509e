"""What a warehouse and a machine say of lengths and rates, and what it takes for measured."""

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
from warehouse import manifest_of, put_run, put_shard, track_row

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import RunManifest, Session, commit_run
from catalog_tagger.tagging.costs import BY_DEPTH, MUSIC, SETTLED, Music
from catalog_tagger.tagging.estimate import wall_seconds
from catalog_tagger.tagging.rates import (
    START_S,
    Rates,
    audio_seconds,
    bytes_by_extension,
    core_seconds,
    measured_rate,
    measured_rates,
    usable_cpus,
)
from catalog_tagger.tagging.skimming import Depth
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


@given(rate=st.floats(10, 2000), hours=st.floats(0.1, 100), nodes=st.integers(1, 20), cpus=st.integers(1, 64))
def test_an_estimate_by_a_measured_run_gives_that_run_back(rate: float, hours: float, nodes: int, cpus: int) -> None:
    """A run at a rate, then the same audio on the same machines: the same time."""
    cores = nodes * cpus
    wall_s = START_S + hours * 3600
    audio_s = rate * cores * hours * 3600
    measured, used = measured_rate([run(audio_s, session(wall_s, nodes=nodes, cpus=cores))], depth="scan")
    assert len(used) == 1
    assert measured == pytest.approx(rate)
    assert wall_seconds(audio_s, rate_per_core=measured, cores=cores) == pytest.approx(wall_s)


def test_runs_that_hardly_worked_are_no_measurement() -> None:
    short = run(1000.0, session(START_S + 5))
    for runs in ([], [short], [short, run(50.0), short]):
        assert measured_rate(runs, depth="scan") == (None, [])
    long = run(600_000.0, session(START_S + 1000))
    rate, used = measured_rate([run(50.0), long], depth="scan")
    assert (rate, used) == (pytest.approx(300.0), [long])


def test_runs_with_the_same_bundles_count_before_others() -> None:
    mine, other = ("a@1", "b@2"), ("a@1",)
    slow = replace(run(100_000.0, session(START_S + 1000)), bundles=["a@0", "b@0"])
    quick = replace(run(600_000.0, session(START_S + 1000)), bundles=list(other))
    assert measured_rate([slow, quick], depth="scan", bundle_ids=mine) == (pytest.approx(50.0), [slow])
    assert measured_rate([slow, quick], depth="scan", bundle_ids=other) == (pytest.approx(300.0), [quick])
    alone = measured_rate([quick], depth="scan", bundle_ids=mine)
    assert alone == (pytest.approx(300.0), [quick]), "better than no measurement"


@given(of=st.dictionaries(st.sampled_from(BY_DEPTH), st.floats(10, 1e4)), before=st.floats(10, 1e4))
def test_a_rate_is_that_of_runs_of_the_same_depth(of: dict[Depth, float], before: float) -> None:
    """Manifests from before depths were kept name none, and their runs heard everything."""
    worked = session(START_S + 100, cpus=1)
    runs = [replace(run(rate * 100, worked), config={"depth": depth}) for depth, rate in of.items()]
    for depth in BY_DEPTH:
        rate, used = measured_rate(runs, depth=depth)
        assert (rate, len(used)) == ((pytest.approx(of[depth]), 1) if depth in of else (None, 0))
    rate, used = measured_rate([run(before * 100, worked), *runs], depth="scan")
    assert rate == pytest.approx((before + of["scan"]) / 2 if "scan" in of else before)
    assert len(used) == 1 + ("scan" in of)


def test_machines_are_those_of_a_run_of_another_depth_where_none_of_this_worked(tmp_path: Path) -> None:
    manifest = manifest_of("r", put_shard(Store(tmp_path), run_id="r", shard="s", rows=[]))
    commit_run(Store(tmp_path), replace(manifest, audio_s=1e6, sessions=[session(1000, nodes=3, cpus=48)]))
    scan, auto = (measured_rates(Store(tmp_path), depth=depth) for depth in ("scan", "auto"))
    assert (scan.nodes, scan.cpus, scan.measured_runs) == (3, 16, 1)
    assert (auto.nodes, auto.cpus, auto.measured_runs, auto.rate_per_core) == (3, 16, 0, None)


def put_heard(
    store: Store, run_id: str, *, depth: str | None, music: int, in_part: int, speech: int, speech_s: float = 200.0
) -> None:
    """A run that heard so many tracks of music of 200 s, some in part, and so many of speech in whole."""
    rows = []
    for i in range(music + speech):
        length_s = 200.0 if i < music else speech_s
        heard = {"duration_s": length_s, "scanned_s": 25.0 if i < in_part else length_s}
        kind = "music" if i < music else "speech"
        rows.append(track_row(f"{run_id}-{i}", run_id=run_id, minute=1, content_type=kind, **heard))
    manifest = manifest_of(run_id, put_shard(store, run_id=run_id, shard="s", rows=rows))
    commit_run(store, replace(manifest, config={} if depth is None else {"depth": depth}))


def music_of(store: Store) -> Music:
    return measured_rates(store, depth="auto").music


def test_shares_of_music_are_assumed_until_a_hundred_tracks_are_there(tmp_path: Path) -> None:
    assert music_of(Store(tmp_path)) == Music(share=MUSIC, settled=SETTLED)
    put_heard(Store(tmp_path), "few", depth="auto", music=50, in_part=10, speech=49)
    assert music_of(Store(tmp_path)) == Music(share=MUSIC, settled=SETTLED)
    put_heard(Store(tmp_path), "more", depth="auto", music=50, in_part=40, speech=51)
    assert music_of(Store(tmp_path)) == Music(share=0.5, settled=0.5, share_measured=True, settled_measured=True)


def test_shares_of_music_go_by_length(tmp_path: Path) -> None:
    put_heard(Store(tmp_path), "r", depth="auto", music=120, in_part=90, speech=10, speech_s=7200.0)
    music = music_of(Store(tmp_path))
    assert (music.share, music.settled) == (pytest.approx(24_000 / 96_000), pytest.approx(0.75))


@pytest.mark.parametrize("depth", [None, "scan", "skim"])
def test_what_a_look_settles_is_told_by_runs_of_depth_auto_alone(depth: str | None, tmp_path: Path) -> None:
    put_heard(Store(tmp_path), "r", depth=depth, music=90, in_part=90 if depth == "skim" else 0, speech=30)
    assert music_of(Store(tmp_path)) == Music(share=0.75, share_measured=True)


def test_a_warehouse_without_music_has_none_to_settle(tmp_path: Path) -> None:
    put_heard(Store(tmp_path), "r", depth="auto", music=0, in_part=0, speech=120)
    assert music_of(Store(tmp_path)) == Music(share=0.0, share_measured=True)


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
    assert measured_rates(Store(tmp_path), depth="scan").bytes_per_s == {extension: 400.0}


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
