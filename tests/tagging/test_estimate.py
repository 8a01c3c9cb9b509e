"""The arithmetic of a dry run, and plans of real sources."""

import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "tables"))
from warehouse import put_run, track_row

from catalog_tagger.storage import Store
from catalog_tagger.tagging.config import make_config
from catalog_tagger.tagging.costs import BY_DEPTH, MACHINES, Catalogue, core_rate, per_million
from catalog_tagger.tagging.estimate import cost_of, plan_only, wall_seconds
from catalog_tagger.tagging.rates import START_S
from catalog_tagger.tagging.skimming import Depth
from catalog_tagger.tagging.track_list import TRACK_LIST


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
        source=str(source), warehouse=str(tmp_path / "w"), bundles=(bundle,), shard_tracks=2, cost_per_hour=1.5,
        precision="float32",
    )  # fmt: skip
    planned = plan_only(config, nodes=3, cpus=4)
    assert (planned.tracks, planned.up_to_date, planned.removed) == (4, 0, 0)
    assert planned.shards == 2
    assert planned.size_bytes == 4 * 16_000 * 60
    assert planned.audio_s == pytest.approx(240.0)
    rate = core_rate("auto", Catalogue(track_s=60.0, bundles=("untrained",)), listener="float32")
    assert planned.wall_s == pytest.approx(START_S + 240.0 / (rate * 12))
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
    assert (planned.per_million, planned.catalogue.track_s) == ((), Catalogue().track_s)
    assert (planned.audio_s, planned.wall_s, planned.cost) == (None, None, None)
    nothing = plan_only(config, tracks=TRACK_LIST.empty_table())
    assert (nothing.tracks, nothing.audio_s, nothing.wall_s, nothing.cost) == (0, 0.0, 0.0, 0.0)
    assert nothing.per_million == ()


@pytest.mark.parametrize("depth", BY_DEPTH)
def test_a_plan_tells_what_a_million_such_tracks_cost(depth: Depth, bundle: str, tmp_path: Path) -> None:
    sizes = (None, 16_000 * 200, None, 16_000 * 400)
    rows = [{"track_id": str(i), "uri": f"/{i}.mp3", "size_bytes": size} for i, size in enumerate(sizes)]
    config = make_config(source="/audio", warehouse=str(tmp_path / "w"), bundles=(bundle,), depth=depth, device="gpu")
    planned = plan_only(config, tracks=pa.Table.from_pylist(rows, schema=TRACK_LIST))
    such = Catalogue(track_s=300.0, bundles=("untrained",))
    assert (planned.depth, planned.catalogue, planned.per_million) == (depth, such, per_million(such))
    assert planned.rate_per_core == core_rate(depth, such, listener="gpu")


def test_without_a_bundle_for_speech_and_music_every_depth_hears_all(
    source: Path, bundles: tuple[str, str, str], tmp_path: Path
) -> None:
    planned = plan_only(make_config(source=str(source), warehouse=str(tmp_path / "w"), bundles=bundles[1:]))
    costs = {(million.machine, million.cost) for million in planned.per_million}
    assert len(costs) == len(MACHINES) < len(planned.per_million)
