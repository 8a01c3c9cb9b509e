"""Rows as the command shows them: data is never taken for markup, and no value stands under another's name."""

import json

import pyarrow as pa
import pytest

from catalog_tagger.cli.output import show_rows
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


def test_json_is_a_list_of_objects(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(pa.table({"a": [1, None]}), as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"a": 1}, {"a": None}]
