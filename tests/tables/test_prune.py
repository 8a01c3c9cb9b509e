"""Old runs go, the newest row of every track stays, and whoever dies on the way leaves a warehouse that is whole."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from commands import command
from hypothesis import given, settings
from hypothesis import strategies as st
from warehouse import manifest_of, put_shard, track_row

from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import commit_run, committed_runs, run_folder
from catalog_tagger.tables.prune import prunable, prune
from catalog_tagger.tables.published import publish
from catalog_tagger.tables.views import query
from catalog_tagger.tagging.runs import list_runs

DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)


def put(store: Store, run_id: str, tracks: list[str], *, day: int, kind: str = "tag") -> None:
    rows = [track_row(track, run_id=run_id, minute=1) for track in tracks]
    files = put_shard(store, run_id=run_id, shard="000000-x", rows=rows) if kind == "tag" else []
    manifest = manifest_of(run_id, files, committed_at=(DAY + timedelta(days=day)).isoformat())
    commit_run(store, type(manifest)(**{**vars(manifest), "kind": kind}))
    store.write(f"{run_folder(run_id)}/job.json", b"{}")
    publish(store)


def current(store: Store) -> list[dict[str, Any]]:
    return query(store, "SELECT track_id, run_id FROM tracks ORDER BY track_id").to_pylist()


def runs_of(store: Store) -> list[str]:
    return [run.run_id for run in committed_runs(store)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    put(store, "r1", ["a", "b"], day=0)
    put(store, "r2", ["a"], day=1)
    put(store, "r3", ["b", "c"], day=2)
    put(store, "r4", ["a"], day=3)
    put(store, "s1", [], day=4, kind="songs")
    put(store, "s2", [], day=5, kind="songs")
    return store


def test_what_was_replaced_goes_and_what_is_current_stays(store: Store) -> None:
    before = current(store)
    removed = prune(store, keep=timedelta(0))
    assert [run.run_id for run in removed] == ["r1", "r2", "s1"]
    assert runs_of(store) == ["r3", "r4", "s2"]
    assert current(store) == before
    left = {path.relative_to(store.root).as_posix() for path in Path(store.root).rglob("*") if path.is_file()}
    assert not [name for name in left if any(run in name for run in ("r1", "r2", "s1"))]
    assert prune(store, keep=timedelta(0)) == []


def test_young_runs_stay(store: Store) -> None:
    now = DAY + timedelta(days=10)
    assert [run.run_id for run in prunable(store, keep=timedelta(days=9), now=now)] == ["r1"]
    assert [run.run_id for run in prunable(store, keep=timedelta(days=11), now=now)] == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=6))
def test_no_newest_row_is_ever_lost(tmp_path_factory: pytest.TempPathFactory, runs: list[set[str]]) -> None:
    store = Store(tmp_path_factory.mktemp("w"))
    for number, tracks in enumerate(runs):
        put(store, f"r{number}", sorted(tracks), day=number)
    before = current(store)
    prune(store, keep=timedelta(0))
    assert current(store) == before
    assert {row["run_id"] for row in before} == set(runs_of(store))


class _Died(BaseException):
    pass


@pytest.mark.parametrize("step", range(8))
def test_a_prune_that_is_killed_leaves_a_whole_warehouse_and_the_next_one_ends_it(
    store: Store, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = current(store), []

    def dying(name: str) -> Any:
        real = getattr(Store, name)

        def call(self: Store, place: str, *rest: Any) -> Any:
            calls.append(place)
            if len(calls) == step + 1:
                raise _Died
            return real(self, place, *rest)

        return call

    with monkeypatch.context() as patch:
        for name in ("write", "remove", "remove_below"):
            patch.setattr(Store, name, dying(name))
        with pytest.raises(_Died):
            prune(store, keep=timedelta(0))
    assert current(store) == before
    assert all(run.state == "committed" for run in list_runs(store))
    prune(store, keep=timedelta(0))
    assert runs_of(store) == ["r3", "r4", "s2"]
    assert current(store) == before
    assert sorted(store.children("runs")) == ["r3", "r4", "s2"]
    assert sorted(store.children("commits")) == ["r3.parquet", "r4.parquet", "s2.parquet"]


def test_the_command_says_what_it_would_do_first(store: Store) -> None:
    said = command("prune", store.uri, "--keep-days", "0", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1] == "3 runs would be removed"
    assert len(runs_of(store)) == 6
    done = command("prune", store.uri, "--keep-days", "0", "--json")
    assert [run["run_id"] for run in json.loads(done.stdout)] == ["r1", "r2", "s1"]
    assert command("prune", store.uri, "--keep-days", "0").stdout == "nothing to remove\n"
