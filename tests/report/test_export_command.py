"""``catalog-tagger export`` and ``report`` of a warehouse made by hand: a file per track, a page."""

from __future__ import annotations

import json
from pathlib import Path

import five_questions
import pytest
from commands import command

from catalog_tagger.storage import Store


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = Store(tmp_path_factory.mktemp("tags"))
    five_questions.make(store)
    return store.uri


def test_every_tagged_track_has_a_file(warehouse: str, tmp_path: Path) -> None:
    done = command("export", warehouse, "--format", "json", "--out", str(tmp_path / "labels"))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [
        f"{name}.json" for name in ("a", "b", "gone", "new", "show")
    ]
    show = json.loads((tmp_path / "labels" / "show.json").read_text())
    assert [one["label"] for one in show["heard"]] == ["music"]
    assert [one["label"] for one in show["songs"]] == ["a", "b"]
    assert show["unheard"] == [[10.0, 30.0]]


def test_some_of_them_can_be_chosen(warehouse: str, tmp_path: Path) -> None:
    chosen = ("--where", "content_type <> 'music'", "--track", "show", "--track", "a")
    done = command("export", warehouse, "--format", "audacity", "--out", str(tmp_path), *chosen)
    assert done.stdout == f"2 files in {tmp_path}\n", done.stderr
    assert (tmp_path / "show.txt").read_text().splitlines()[0] == "0.000000\t10.000000\tmusic"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "mp3"), "--format 'mp3': known are audacity, textgrid, rttm, json"),
        (("--format", "json", "--where", "kind = 1"), "--where 'kind = 1': Binder Error"),
        (("--format", "json", "--track", "nobody"), "no tagged track 'nobody'"),
    ],
)
def test_what_cannot_be_written_is_said(
    warehouse: str, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = command("export", warehouse, "--out", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())
