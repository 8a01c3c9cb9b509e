"""A short soak: what the script does for long, with the few kills that a suite has time for."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from soak import Soak, make_catalogue, with_cluster

pytestmark = pytest.mark.xdist_group("ray_commands")


@pytest.fixture(scope="module")
def soak(bundle: str, tmp_path_factory: pytest.TempPathFactory) -> Soak:
    folder = tmp_path_factory.mktemp("soak")
    source = make_catalogue(folder / "audio", tracks=16, seed=0, most_minutes=12)
    prepared = Soak(folder, source, bundle, random.Random(0))
    prepared.finish("undisturbed")
    return prepared


def test_a_run_that_is_killed_at_every_stage_ends_with_the_rows_of_one_in_peace(soak: Soak) -> None:
    soak.die_at_writes("w", "after job.json")
    soak.die_at_writes("w", "after segments/", "before manifest.json")
    print(f"{soak.total} kills: {dict(soak.kills)}")
    assert soak.total == 3
    soak.finish("w")
    soak.compare("w")


def test_a_run_whose_processes_are_killed_ends_with_the_rows_of_one_in_peace(soak: Soak) -> None:
    before = soak.total
    soak.kill_processes("v", ["decoder", "actor", "driver"])
    print(f"{soak.total - before} kills: {dict(soak.kills)}")
    assert soak.total > before, "as many as a quick machine leaves time for"
    soak.finish("v")
    soak.compare("v")


def test_a_node_that_is_lost_while_three_work_costs_nothing(soak: Soak) -> None:
    with_cluster(soak, "nodes", losses=1)
    assert soak.kills["whole node"] == 1
