"""The configuration of a job: one clear line for each mistake."""

import os
from pathlib import Path
from typing import Any

import pytest

from catalog_tagger.errors import UsageError
from catalog_tagger.models.bundle import shipped_bundles
from catalog_tagger.tagging.config import load_config, make_config, new_run_id


def test_source_and_warehouse_are_enough() -> None:
    config = make_config(source="/a", warehouse="s3://b/c")
    assert (config.source, config.warehouse, config.bundles) == ("/a", "s3://b/c", shipped_bundles())
    assert config.run_id[:8].isdigit()


def test_default_run_names_sort_by_time_and_differ_within_a_second() -> None:
    assert new_run_id() >= "20260101T000000Z"
    assert len(new_run_id()) == len("20260101T000000Z-0000")
    assert len({new_run_id() for _ in range(5)}) > 1


def test_local_paths_are_made_absolute_and_others_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    for given, expected in {
        "music": f"{tmp_path}/music",
        "./shards/*.tar": f"{tmp_path}/shards/*.tar",
        "~/music": "/home/someone/music",
        "/abs/./x/../y": "/abs/y",
        f"file://{tmp_path}/a": f"{tmp_path}/a",
        "s3://bucket/a/../b": "s3://bucket/a/../b",
    }.items():
        assert make_config(source=given, warehouse="/w").source == expected


def test_none_stands_for_not_given() -> None:
    assert make_config(source="/a", warehouse="/w", run_id=None, shard_tracks=None).shard_tracks == 4000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sauce": "x"}, "unknown key 'sauce'; known keys: source, warehouse, run_id"),
        ({"shard_tracks": 0}, "shard_tracks: .*greater than or equal to 1 .given: 0."),
        ({"shard_tracks": "many"}, "shard_tracks: .*valid integer.* .given: 'many'."),
        ({"max_duration_s": -1}, "max_duration_s: .*greater than 0"),
        ({"run_id": "../evil"}, "run_id: .*use 1 to 64 letters, digits"),
        ({"run_id": "a/b"}, "run_id: .*use 1 to 64"),
        ({"run_id": "x" * 65}, "run_id: .*use 1 to 64"),
        ({"run_id": ""}, "run_id: .*use 1 to 64"),
        ({"bundles": []}, "bundles: .*at least 1 item"),
        ({"bundles": 3}, "bundles: .*valid tuple"),
        ({"source": ""}, "source: .*at least 1 character"),
    ],
)
def test_each_mistake_is_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make_config(**{"source": "/a", "warehouse": "/w", **values})
    assert len(str(caught.value).splitlines()) == 1
    assert "pydantic" not in str(caught.value)


def test_several_mistakes_are_told_together() -> None:
    with pytest.raises(UsageError) as caught:
        make_config(warehouse="/w", decoders=0, sauce=1)
    assert sorted(line.split()[0] for line in str(caught.value).splitlines()) == ["decoders:", "source", "unknown"]


def test_a_file_gives_what_keywords_give_and_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("source: s3://b/audio\nwarehouse: s3://b/w\nshard_tracks: 10\nbundles: [a, b]\nrun_id: null\n")
    config = load_config(path, overrides={"shard_tracks": 20, "run_id": "r1"})
    assert config == make_config(
        source="s3://b/audio", warehouse="s3://b/w", shard_tracks=20, bundles=("a", "b"), run_id="r1"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: [", "not a YAML file"),
        ("- a\n- b\n", "expected keys and values, such as 'source: s3://bucket/audio'"),
        ("", "expected keys and values"),
        ("source: /a\n", "warehouse is missing"),
        ("source: /a\nwarehouse: /w\nshard_track: 5\n", "unknown key 'shard_track'"),
        ("source: 5\nwarehouse: /w\n", "source: .*valid string"),
        ("!!python/object/apply:os.system ['touch /tmp/hit']", "not a YAML file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error_with_its_name(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_config(tmp_path / "job.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/job.yaml: ")


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the configuration: No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot read the configuration: Is a directory"):
        load_config(os.fspath(tmp_path))


@pytest.mark.parametrize("key", ["roots", "retry_quarantined", "bundles"])
def test_one_name_may_stand_without_a_list(key: str) -> None:
    config = make_config(source="/a", warehouse="/w", **{key: "/all"})
    assert getattr(config, key) == ("/all",)


def test_folders_of_bundles_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "speech_music"):
        (tmp_path / name).mkdir()
    config = make_config(source="a", warehouse="w", bundles=("mine", "speech_music", "./speech_music", "nowhere"))
    assert config.bundles == (f"{tmp_path}/mine", "speech_music", f"{tmp_path}/speech_music", "nowhere")
