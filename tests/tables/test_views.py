"""What SQL sees: committed rows alone, and of each track the newest."""

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warehouse import manifest_of, put_run, put_shard, track_row

from catalog_tagger.errors import StorageError, UsageError
from catalog_tagger.storage import Store
from catalog_tagger.tables.commit import commit_run
from catalog_tagger.tables.schemas import TAG_LIST
from catalog_tagger.tables.views import connect, query

_NEWER = ("tags", "embedding", "p_female", "content_probabilities")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "w")


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in query(store, sql).to_pylist()]


def test_a_run_without_manifest_is_invisible(store: Store) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=0)])
    put_shard(store, run_id="b", shard="s", rows=[track_row("x", run_id="b", minute=9, content_type="speech")])
    store.write("runs/b/job.json", b"{}")
    for table in ("tracks", "tracks_history", "segments", "segments_history", "runs"):
        assert rows(store, f"SELECT DISTINCT run_id FROM {table}") == [("a",)], table


def test_history_has_every_row_and_current_the_newest(store: Store) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=1), track_row("y", run_id="a", minute=2)], segments=3)
    put_run(store, "b", [track_row("x", run_id="b", minute=5, content_type="speech")], segments=1)
    assert rows(store, "SELECT track_id, run_id FROM tracks_history ORDER BY ALL") == [
        ("x", "a"),
        ("x", "b"),
        ("y", "a"),
    ]
    assert rows(store, "SELECT track_id, run_id, content_type FROM tracks ORDER BY 1") == [
        ("x", "b", "speech"),
        ("y", "a", "music"),
    ]
    assert rows(store, "SELECT track_id, run_id, count(*) FROM segments GROUP BY ALL ORDER BY 1") == [
        ("x", "b", 1),
        ("y", "a", 3),
    ]
    assert rows(store, "SELECT count(*) FROM segments_history") == [(7,)]


def put_run_at(store: Store, run_id: str, rows: list[dict[str, Any]], *, committed_at: str) -> None:
    files = put_shard(store, run_id=run_id, shard="000000-x", rows=rows)
    commit_run(store, manifest_of(run_id, files, committed_at=committed_at))


def test_a_node_whose_clock_is_ahead_does_not_outlast_later_runs(store: Store) -> None:
    row = track_row("x", run_id="b", minute=50)
    put_run_at(store, "b", [row, track_row("y", run_id="b", minute=50)], committed_at="2026-01-01T12:10:00+00:00")
    put_run_at(store, "a", [track_row("x", run_id="a", minute=20)], committed_at="2026-01-01T12:20:00+00:00")
    assert rows(store, "SELECT track_id, run_id FROM tracks ORDER BY 1") == [("x", "a"), ("y", "b")]
    assert rows(store, "SELECT track_id, run_id FROM segments GROUP BY ALL ORDER BY 1") == [("x", "a"), ("y", "b")]


def test_of_runs_committed_at_once_a_later_one_with_an_older_row_does_not_win(store: Store) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=7)])
    put_run(store, "b", [track_row("x", run_id="b", minute=3)])
    assert rows(store, "SELECT run_id FROM tracks") == [("a",)]


def test_a_tie_goes_to_the_later_run_name(store: Store) -> None:
    for run_id in ("b", "c", "a"):
        put_run(store, run_id, [track_row("x", run_id=run_id, minute=3)])
    assert rows(store, "SELECT run_id FROM tracks") == [("c",)]


def test_a_quarantined_row_replaces_a_tagged_one_and_its_segments(store: Store) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=1)])
    put_run(store, "b", [track_row("x", run_id="b", minute=2, status="quarantined", error_code="empty")], segments=0)
    assert rows(store, "SELECT status, error_code FROM tracks") == [("quarantined", "empty")]
    assert rows(store, "SELECT count(*) FROM segments") == [(0,)]


@given(
    made=st.lists(
        st.tuples(st.sampled_from("xyz"), st.integers(0, 5), st.sampled_from("abcd")),
        min_size=1,
        max_size=8,
        unique_by=lambda row: (row[0], row[2]),
    ),
    committed=st.fixed_dictionaries(dict.fromkeys("abcd", st.integers(1, 3))),
)
@settings(max_examples=15, deadline=None)
def test_current_is_the_greatest_by_commit_then_time_then_run(
    made: list[tuple[str, int, str]], committed: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("w"))
    for run_id in {run_id for _, _, run_id in made}:
        of_run = [track_row(t, run_id=r, minute=m) for t, m, r in made if r == run_id]
        put_run_at(store, run_id, of_run, committed_at=f"2026-01-0{committed[run_id]}T00:00:00+00:00")
    expected = {track: max((committed[r], m, r) for t, m, r in made if t == track)[2] for track, _, _ in made}
    assert dict(rows(store, "SELECT track_id, run_id FROM tracks")) == expected


def test_the_runs_view_accounts_for_every_run(store: Store) -> None:
    put_run(store, "a", [track_row(name, run_id="a", minute=0) for name in "xyz"], segments=4)
    assert rows(
        store,
        "SELECT run_id, source, bundles, tracks, tagged, quarantined, up_to_date, segments, wall_s, removed FROM runs",
    ) == [("a", "/audio", ["m@1"], 3, 3, 0, 3, 12, 2.0, 0)]


def test_a_warehouse_with_an_unfinished_run_alone_is_empty_and_not_an_error(store: Store) -> None:
    store.write("runs/a/job.json", b"{}")
    for table in ("tracks", "segments", "runs"):
        assert rows(store, f"SELECT count(*) FROM {table}") == [(0,)]


def test_names_with_quotes_spaces_and_unicode_are_just_text(store: Store) -> None:
    names = ["it's", 'say "hi"', "a, b", "é/ü", "007", "%2F", "a=b"]
    put_run(store, "a", [track_row(name, run_id="a", minute=0) for name in names])
    assert sorted(row[0] for row in rows(store, "SELECT track_id FROM tracks")) == sorted(names)


def test_columns_that_files_of_an_older_version_lack_are_null(store: Store) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=1)])
    (path,) = Path(store.root).glob("tracks/run_id=a/*.parquet")
    pq.write_table(pq.read_table(path).drop_columns("attempts"), path)
    assert rows(store, "SELECT track_id, attempts, typeof(attempts) FROM tracks") == [("x", None, "INTEGER")]
    put_run(store, "b", [track_row("y", run_id="b", minute=1, attempts=2)])
    assert rows(store, "SELECT track_id, attempts FROM tracks ORDER BY 1") == [("x", None), ("y", 2)]


def test_a_warehouse_from_before_there_were_tags_is_read_beside_a_new_one(store: Store) -> None:
    tags = [{"tag": "dog", "score": 0.75}, {"tag": "rain", "score": 0.25}]
    put_run(store, "a", [track_row("x", run_id="a", minute=1), track_row("y", run_id="a", minute=1)])
    for path in Path(store.root).glob("*/run_id=a/*.parquet"):
        table = pq.read_table(path)
        later = [name for name in table.column_names if name in _NEWER or "voice" in name]
        assert len(later) == {"tracks": 5, "segments": 2, "fingerprints": 0}[path.parts[-3]]
        pq.write_table(table.drop_columns(later), path)
    asked = "SELECT track_id, voice_gender, voice_gender_confidence, tags, embedding FROM tracks ORDER BY 1"
    assert rows(store, asked) == [("x", None, None, None, None), ("y", None, None, None, None)]
    assert rows(store, "SELECT DISTINCT p_female, tags FROM segments") == [(None, None)]
    assert rows(store, "SELECT * FROM track_tags") == rows(store, "SELECT * FROM segment_tags") == []
    row = track_row("y", run_id="b", minute=2, voice_gender="female", tags=tags, embedding=[0.5, -1.0])
    put_run(store, "b", [row])
    assert rows(store, asked) == [("x", None, None, None, None), ("y", "female", None, tags, [0.5, -1.0])]
    assert rows(store, "SELECT * FROM track_tags ORDER BY score") == [("y", "rain", 0.25), ("y", "dog", 0.75)]


def test_tags_of_segments_stand_in_rows_of_their_own(store: Store) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=1)], segments=2)
    (path,) = Path(store.root).glob("segments/run_id=a/*.parquet")
    table = pq.read_table(path)
    tags = pa.array([[{"tag": "dog", "score": 0.5}, {"tag": "rain", "score": 0.25}], []], TAG_LIST)
    pq.write_table(table.set_column(table.column_names.index("tags"), table.schema.field("tags"), tags), path)
    assert rows(store, "SELECT * FROM segment_tags ORDER BY score DESC") == [
        ("x", 0.0, 5.0, "dog", 0.5),
        ("x", 0.0, 5.0, "rain", 0.25),
    ]


def test_other_engines_read_lists_and_structs(store: Store) -> None:
    row = track_row("x", run_id="a", minute=1, tags=[{"tag": "dog", "score": 0.5}], embedding=[0.5, 0.25])
    put_run(store, "a", [row])
    (path,) = Path(store.root).glob("tracks/run_id=a/*.parquet")
    (read,) = pd.read_parquet(path).to_dict("records")
    assert list(read["embedding"]) == [0.5, 0.25]
    assert list(read["tags"]) == [{"tag": "dog", "score": 0.5}]
    sql = f"SELECT embedding, tags[1].tag, list_cosine_similarity(embedding, [1, 0.5]) FROM '{path}'"
    assert duckdb.sql(sql).fetchall() == [([0.5, 0.25], "dog", pytest.approx(1.0))]


def test_tables_that_are_not_asked_for_are_not_opened(store: Store) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=1)])
    (path,) = Path(store.root).glob("segments/run_id=a/*.parquet")
    path.unlink()
    with connect(store, tables=("tracks",)) as connection:
        assert connection.execute("SELECT track_id FROM tracks").fetchall() == [("x",)]
    with pytest.raises(StorageError, match="a committed file cannot be read"):
        connect(store)


def test_no_warehouse_is_one_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no warehouse here; make one with: catalog-tagger tag"):
        query(Store(tmp_path / "nowhere"), "SELECT 1")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", "(?i)syntax error"),
        ("SELECT nothing FROM tracks", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("-- only a remark", "returns no rows"),
    ],
)
def test_a_statement_that_cannot_be_answered_is_one_error(store: Store, sql: str, message: str) -> None:
    put_run(store, "a", [track_row("x", run_id="a", minute=0)])
    with pytest.raises(UsageError, match=message):
        query(store, sql)
