"""Rows as the command shows them: data is never taken for markup, and no value stands under another's name."""

import json

import pyarrow as pa
import pytest

from catalog_tagger.cli.output import heard_line, show_rows
from catalog_tagger.errors import UsageError


def test_brackets_are_data(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(pa.table({"[bold]name": ["Song [live].mp3", "d[/x]"]}), as_json=False)
    shown = capsys.readouterr().out
    for text in ("[bold]name", "Song [live].mp3", "d[/x]"):
        assert text in shown


def test_columns_of_one_name_keep_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table([pa.array(["left"]), pa.array(["right"])], names=["a", "a"])
    show_rows(rows, as_json=False)
    shown = capsys.readouterr().out
    assert shown.index("left") < shown.index("right")
    with pytest.raises(UsageError, match="two columns are called 'a'"):
        show_rows(rows, as_json=True)


def test_lists_and_structs_are_read_by_people(capsys: pytest.CaptureFixture[str]) -> None:
    tags = [{"tag": "dog", "score": 0.8700000047683716}, {"tag": "rain", "score": 0.25}]
    rows = pa.table({"tags": [tags, []], "embedding": [[0.5] * 128, None]})
    show_rows(rows, as_json=False)
    shown = capsys.readouterr().out
    assert "dog 0.87, rain 0.25 " in shown
    assert shown.count("0.5, ") == 10
    assert "... (128 values)" in shown
    show_rows(rows.slice(0, 1), as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"tags": tags, "embedding": [0.5] * 128}


def test_a_run_says_what_it_heard_and_what_is_no_news_it_does_not() -> None:
    heard = {
        "content_type": {"music": 1200, "speech": 7},
        "voice_gender": {"unknown": 1190, "female": 10, "mixed": 7},
        "tags": {"music": 1100, "rain": 9, **{f"t{i}": 8 - i for i in range(7)}},
    }
    assert heard_line(heard) == (
        "heard 1,200 music, 7 speech; voices: 10 female, 7 mixed; tags: 9 rain, 8 t0, 7 t1, 6 t2, 5 t3, 4 t4 and 2 more"
    )
    assert heard_line({"content_type": {"music": 2}, "tags": {}}) == "heard 2 music"
    assert heard_line({"voice_gender": {"unknown": 3}}) == heard_line({}) == ""


def test_json_is_a_list_of_objects(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(pa.table({"a": [1, None]}), as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"a": 1}, {"a": None}]
