"""Bad input: one error that names the file, the value and the remedy, and nothing is written."""

from pathlib import Path
from typing import Any

import pytest
from hand_made import as_csv, put_run, put_tracks, some_metadata, some_tracks

from catalog_tagger.errors import RunError, UsageError
from catalog_tagger.reconcile.config import load_config, make_config
from catalog_tagger.reconcile.job import run_reconcile
from catalog_tagger.storage import Store
from catalog_tagger.tables.lease import hold


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "w")
    put_tracks(store, some_tracks())
    return store


def files_of(store: Store) -> list[str]:
    return [info.uri for info in store.walk()]


def refusal(store: Store, folder: Path, text: str | bytes, *, name: str = "m.csv", **options: Any) -> str:
    """What is said of metadata; nothing may be written."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    before = files_of(store)
    with pytest.raises(UsageError) as error:
        run_reconcile(make_config(warehouse=store.uri, metadata=str(path), **options))
    assert files_of(store) == before
    message = str(error.value)
    assert "\n" not in message
    return message


HEAD = "track_id,content_type\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title,content_type\na,song\n", "m.csv: no column of track ids: none of track_id"),
        (
            f"{HEAD}m01,song\nm02,song\nm01,book\n",
            "m.csv: duplicate track_id 'm01' in 2 rows; every track needs one row",
        ),
        (f"{HEAD}m01,song\n,song\n  ,song\n", "m.csv: 2 rows have no track_id; every track needs its id"),
        (f"{HEAD}zz,song\nyy,song\n", "knows none of its ids (yy, zz); those of the warehouse look like"),
        (HEAD, "m.csv: there are no rows"),
        ("", "m.csv: the file is empty"),
        ("track_id,mood\nm01,sad\n", "m.csv: no column has a common name for content type"),
        (b"\x00\x01\x02\xff\xfe" * 400, "m.csv: "),
        (b"track_id,content_type\nm01,so\xffng\n", "m.csv: cannot be read as a table"),
    ],
)
def test_metadata_that_cannot_be_used(store: Store, tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in refusal(store, tmp_path, text)


def test_files_that_are_no_tables(store: Store, tmp_path: Path) -> None:
    assert "m.parquet: cannot be read as a table" in refusal(store, tmp_path, "no parquet at all", name="m.parquet")
    assert "m.txt: expected a file whose name ends in .csv" in refusal(store, tmp_path, HEAD, name="m.txt")
    with pytest.raises(UsageError, match=r"none\.csv: no such file"):
        run_reconcile(make_config(warehouse=store.uri, metadata=str(tmp_path / "none.csv")))


def test_no_folder_for_what_is_spilled(store: Store, tmp_path: Path) -> None:
    message = refusal(store, tmp_path, as_csv(some_metadata()), temporary=str(tmp_path / "none"))
    assert message.endswith("none: No such file or directory; name a folder that can be written")


def test_a_mapping_that_does_not_fit(store: Store, tmp_path: Path) -> None:
    mapping = tmp_path / "map.yaml"
    for text, message in (
        ("fields: {content_type: {column: sort, values: {music: [song]}}}", "has no column 'sort'"),
        ("fields: {tags: {column: title, values: {hail: [x]}}}", "unknown tag 'hail'; known: baby_cry, banjo"),
    ):
        mapping.write_text(text, encoding="utf-8")
        assert message in refusal(store, tmp_path, as_csv(some_metadata()), mapping=str(mapping))


def test_a_mapping_may_stand_in_the_job_file(store: Store, tmp_path: Path) -> None:
    metadata = tmp_path / "m.csv"
    metadata.write_text(as_csv(some_metadata()), encoding="utf-8")
    job = tmp_path / "job.yaml"
    job.write_text(
        f"warehouse: {store.uri}\nmetadata: {metadata}\nprecision: null\n"
        "mapping: {fields: {content_type: {column: content_type, values: {speech: [song]}}}}\n",
        encoding="utf-8",
    )
    result = run_reconcile(load_config(str(job)))
    assert [field.values for field in result.mapping.fields] == [("song",)]
    assert result.unmapped["content_type"] == {"audiobook": 20, "podcast": 10}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("warehouse: w\nmetadata: m.csv\ncut: 1", "job.yaml: unknown key 'cut'"),
        ("warehouse: w", "job.yaml: metadata is missing"),
        ("warehouse: w\nmetadata: m.csv\nprecision: 2", "job.yaml: precision: "),
        ("warehouse: w\nmetadata: m.csv\nrun_id: a/b", "job.yaml: run_id: use 1 to 64 letters"),
        ("- 1", "job.yaml: expected keys and values"),
    ],
)
def test_a_job_file_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_config(str(path))
    assert message in str(error.value)


def test_no_warehouse_and_no_committed_run_of_tagging(tmp_path: Path) -> None:
    text = as_csv(some_metadata())
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="no warehouse here"):
        run_reconcile(make_config(warehouse=str(tmp_path / "none"), metadata=str(tmp_path / "m.csv")))
    store = Store(tmp_path / "w")
    store.write("runs/a/job.json", b"{}")
    assert "no committed run of tagging yet" in refusal(store, tmp_path, text)
    put_run(store, "s1", "songs", {})
    assert "no committed run of tagging yet" in refusal(store, tmp_path, text)


def test_a_run_that_is_there_or_being_worked_on(store: Store, tmp_path: Path) -> None:
    text = as_csv(some_metadata())
    assert "run t1 is finished; give this one another --run-id" in refusal(store, tmp_path, text, run_id="t1")
    with hold(store, "r1"), pytest.raises(RunError, match="run r1"):
        # this process is alive, and beats
        run_reconcile(make_config(warehouse=store.uri, metadata=str(tmp_path / "m.csv"), run_id="r1"))


def test_names_with_wildcards_quotes_and_odd_columns_are_just_text(store: Store, tmp_path: Path) -> None:
    rows = [{'my "id"': row["track_id"], "it's; type": row["content_type"]} for row in some_metadata(m01="audiobook")]
    path = tmp_path / "a [b]'s *.csv"
    path.write_text(as_csv(rows), encoding="utf-8")
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        """
        track_id: 'my "id"'
        fields:
          content_type:
            column: "it's; type"
            values: {music: [song], speech: [audiobook], speech or mixed: [podcast]}
        """,
        encoding="utf-8",
    )
    config = make_config(warehouse=store.uri, metadata=str(path), mapping=str(mapping), precision=0.9)
    assert run_reconcile(config).flags["track_id"].to_pylist() == ["m01"]
