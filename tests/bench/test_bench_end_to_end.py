"""The bound's arithmetic, and the whole section over a catalogue of seconds."""

from pathlib import Path

import pytest
import section_end_to_end
from measuring import Settings

pytestmark = pytest.mark.xdist_group("ray_commands")


def test_the_bound_is_both_steps_on_every_core() -> None:
    assert section_end_to_end.bound(1000.0, 1000.0, 2) == pytest.approx(1000.0)
    assert section_end_to_end.bound(1000.0, 4000.0, 1) == pytest.approx(800.0)


def test_copies_fill_the_hours(tmp_path: Path) -> None:
    settings = Settings(track_s=2.0, hours=5 * 2.0 / 3600, distinct=3)
    found = section_end_to_end.make_catalogue(tmp_path / "catalogue", settings)
    assert len(found.files) == 5
    assert found.audio_s == 10.0
    assert found.files[3].read_bytes() == found.files[0].read_bytes()
    assert len({file.read_bytes() for file in found.files}) == 3


def test_every_figure_has_a_value(tmp_path: Path) -> None:
    settings = Settings(rounds=1, threads=2, track_s=6.0, hours=5 * 6.0 / 3600, distinct=3)
    rows = section_end_to_end.measure(tmp_path, settings, [("speech_music",)])
    assert all(row.figures and min(row.figures) > 0 for row in rows if row.what != "each further shard")
    assert all(row.peer_figures for row in rows if row.peer)
    assert {row.peer for row in rows} == {
        "",
        "the bound",
        "decoding alone, all cores",
        "a plain Ray Data pipeline",
        "librosa and the networks, one process",
    }
    whole, tagging = (row for row in rows if row.peer == "the bound")
    assert whole.ratios[0] < tagging.ratios[0]
