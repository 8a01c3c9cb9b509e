"""Every peer of a front end makes the shape that ours makes, and the section has a row for each."""

import pytest
import section_frontends
import torch
from material import segments
from measuring import Settings

from catalog_tagger.frontends import build_frontend


def test_peers_make_as_many_frames_and_bins_as_ours() -> None:
    waveforms = segments(2)
    for name, peers in section_frontends.contenders(waveforms).items():
        ours = build_frontend({"name": name})(torch.from_numpy(waveforms))
        assert peers[0].name.startswith("librosa")
        for peer in peers:
            if peer.run is None:  # nnAudio is no package of the tests
                assert peer.reason.startswith("not installed")
                continue
            made = torch.stack([torch.as_tensor(one) for one in peer.run()])
            assert len(made) == 2, peer.name
            frames, bins = sorted(made.shape[1:])[::-1] if name != "chroma" else made.shape[:0:-1]
            ours_frames, ours_bins = sorted(ours.shape[1:])[::-1] if name != "chroma" else ours.shape[1:]
            assert abs(frames - ours_frames) <= 1, peer.name
            assert bins - ours_bins == (1 if name == "mfcc" else 0), peer.name  # ours leaves out the first coefficient


def test_each_front_end_has_a_row_for_each_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section_frontends, "BATCH", 1)
    rows = section_frontends.run(Settings(threads=1).quick())
    assert {row.what for row in rows} == {"stft", "mel", "mfcc", "chroma", "cqt"}
    assert all(row.figures for row in rows)
    assert all(row.peer_figures or row.note for row in rows)
