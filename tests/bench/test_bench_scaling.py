"""The simulation against what can be said without it, and the bench's own steps in small."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scaling_model import LOOP_WAIT_S, Changes, Costs, Place, bounds_of, piece_s, piece_sizes, rows_of, simulate

BENCH = Path(__file__).with_name("bench_scaling.py")

FREE = Costs(
    **{name: 0.0 for name in Costs.__dataclass_fields__ if name != "core_rate"},
    core_rate=200.0,
)
PLACE = Place(tracks=100_000, latency_s=0.0, prefixes=10**6, node_spread=0.0)


def test_pieces_hold_the_whole_catalogue() -> None:
    for tracks in (1, 100, 100_000):
        sizes = piece_sizes(replace(PLACE, tracks=tracks), Changes(), np.random.default_rng(0))
        assert sizes.sum() == pytest.approx(tracks * 240.0)


def test_where_nothing_is_shared_nodes_add_up_but_for_the_last_shards() -> None:
    for nodes in (1, 4, 16):
        run = simulate(FREE, replace(PLACE, nodes=nodes))
        alone_s = 100_000 * 240 / 200 / 16 / nodes
        waited_s = LOOP_WAIT_S * run.pieces / nodes  # until the driver's next step
        assert run.wall_s - run.tail_s - waited_s <= alone_s <= run.wall_s


def test_what_serves_one_after_the_other_limits_the_rate() -> None:
    costs = replace(FREE, status_s=1.0)
    run = simulate(costs, replace(PLACE, nodes=256))
    assert run.wall_s == pytest.approx(run.pieces * 1.0, rel=0.1)
    costs = replace(FREE, driver_piece_s=0.5)
    assert simulate(costs, replace(PLACE, nodes=256)).map_s > run.pieces * 0.5
    costs = replace(FREE, board_call_s=0.5 / 32)  # half of what 64 actors ask of a board
    assert simulate(costs, replace(PLACE, nodes=64)).map_s > 1.2 * simulate(FREE, replace(PLACE, nodes=64)).map_s
    run = simulate(FREE, replace(PLACE, nodes=256, prefixes=1, gets_per_s=100.0))
    assert run.map_s == pytest.approx(100_000 / 100.0, rel=0.1)


def test_lost_nodes_cost_what_they_had_and_the_time_to_replace_them() -> None:
    place = replace(PLACE, nodes=8)
    calm, rough = simulate(FREE, place), simulate(FREE, replace(place, losses_per_hour=10.0))
    a_piece_s = piece_s(FREE, place, 100_000 * 240 / calm.pieces)
    expected = rough.lost * (place.replaced_s + a_piece_s / 2) / 8
    assert rough.lost > 0
    assert rough.map_s - calm.map_s == pytest.approx(expected, rel=0.5)


def test_each_change_is_worth_what_it_moves() -> None:
    costs = replace(FREE, status_s=0.01, list_object_s=1e-4, entry_s=1e-4, setup_piece_s=0.001)
    place = replace(PLACE, tracks=1_000_000, latency_s=0.1, node_spread=0.05)
    runs = [simulate(costs, replace(place, nodes=2**k)) for k in range(9)]
    shares = [row["efficiency"] for row in rows_of(runs)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    bounds = bounds_of(costs, place, runs)
    walls = [runs[-1].wall_s, *(bound.wall_s for bound in bounds)]
    assert walls[-1] < 0.75 * walls[0]


def test_the_reader_of_statuses_ends_where_its_time_is_up() -> None:
    costs = replace(FREE, status_s=0.11, setup_piece_s=0.001)
    place = replace(PLACE, tracks=1_000_000, node_spread=0.05)
    reader = bounds_of(costs, place, [simulate(costs, replace(place, nodes=2**k)) for k in range(9)])[0]
    assert reader.saturated_at == pytest.approx(piece_s(costs, place, 2**30 / 16_000) / 0.11, rel=0.01)
    assert reader.tenth_at is not None
    assert reader.saturated_at / 2 < reader.tenth_at < 2 * reader.saturated_at


@pytest.mark.xdist_group("ray_commands")
def test_every_step_gives_its_figures(tmp_path: Path) -> None:
    kept = tmp_path / "scaling.json"
    command = [sys.executable, str(BENCH), "--quick", "--json", str(kept), "--tracks", "1e5", "1e6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| 1024 |" in done.stdout
    found = json.loads(kept.read_text())
    assert set(found["measured"]) == {"listing", "planning", "driver", "shard", "commit", "current"}
    figures = {key: value for step in found["measured"].values() for key, value in step.items()}
    assert min(figures.values()) >= 0.0
    assert min(figures[name] for name in ("request_s", "driver_piece_s", "status_s", "entry_s", "entry_bytes")) > 0.0
    assert [len(runs) for runs in found["runs"].values()] == [11, 11]
    again = subprocess.run([*command, "--steps"], capture_output=True, text=True, check=False)
    assert again.stdout == done.stdout
