"""The section on how much is heard, over a catalogue of a few minutes."""

from pathlib import Path

import pytest
import section_depth
from measuring import Settings

pytestmark = pytest.mark.xdist_group("ray_commands")


def test_hearing_less_is_counted_and_changes_nothing_in_clear_music(tmp_path: Path) -> None:
    settings = Settings(rounds=1, threads=2, track_s=130.0, hours=3 * 130.0 / 3600, distinct=1)
    rows = {row.what: row for row in section_depth.measure(tmp_path, settings)}
    assert all(row.figures for row in rows.values())
    assert rows["share of the audio that auto hears"].figures[0] < 0.3
    assert rows["content types that auto changes"].figures == [0.0]
    assert rows["the same, auto"].peer == "scan"
