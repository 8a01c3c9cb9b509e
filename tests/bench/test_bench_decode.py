"""Decoders are compared on the same samples, and each format has a row for each of them."""

from pathlib import Path

import section_decode
from measuring import Settings
from torchcodec_process import link_ffmpeg


def test_peers_decode_as_many_samples(tmp_path: Path) -> None:
    files = section_decode.written(tmp_path, 3.0)
    for path in files.values():
        ours, theirs = section_decode.by_package(path.read_bytes()), section_decode.by_pyav(path.read_bytes())
        assert abs(ours - 48000) < 2000
        assert abs(ours - theirs) < 2000


def test_each_format_has_a_row_for_each_peer() -> None:
    rows = section_decode.run(Settings(rounds=1, min_round_s=0.0, track_s=2.0))
    assert len(rows) == 3 * len(section_decode.FORMATS)
    assert all(row.figures for row in rows)
    assert all(row.peer_figures or row.note for row in rows)
    assert all(row.peer_figures for row in rows if "PyAV" in row.peer)


def test_ffmpeg_of_pyav_is_linked_under_its_plain_names(tmp_path: Path) -> None:
    folders = link_ffmpeg(tmp_path)
    names = sorted(path.name.partition(".so.")[0] for path in tmp_path.iterdir())
    if folders:  # a wheel; a build against the system's FFmpeg needs none
        assert {"libavcodec", "libavformat", "libavutil", "libswresample"} <= set(names)
        assert all(path.resolve().is_file() for path in tmp_path.iterdir())
