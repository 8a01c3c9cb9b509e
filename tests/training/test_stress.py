"""What is said of treated clips, and of speech over music."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluations import run, tags_of, untrained
from toy_collection import write_collection

from catalog_tagger.cli.evaluation_display import show_stress
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.training import robustness
from catalog_tagger.training.bank import Recording
from catalog_tagger.training.evaluation import Material, read_material
from catalog_tagger.training.manifest import Clip
from catalog_tagger.training.over_music import speech_over_music
from catalog_tagger.training.pages.stress import stress_page
from catalog_tagger.training.robustness import judged, stress_bundle

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(tmp_path_factory.mktemp("toy"), per_kind=8, seconds=2.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_clips_are_treated_and_the_page_says_where_it_breaks(
    collection: Path, bundle: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"noise", "music"}
    monkeypatch.setattr(robustness, "TREATMENTS", [one for one in robustness.TREATMENTS if one.name in chosen])
    arguments = [bundle, collection, "--stress", "--stress-clips", 5, "--cache", cache, "--out", tmp_path]
    shown = run(*arguments)
    assert "breaks at the first level" in shown
    document = json.loads((tmp_path / "stress.json").read_text())
    assert {name: kind["items"] for name, kind in document["kinds"].items()} in (
        {"speech": 2, "music": 2, "neither": 1},
        {"speech": 2, "music": 1, "neither": 2},
        {"speech": 1, "music": 2, "neither": 2},
    )
    assert [one["name"] for one in document["treatments"]] == ["noise", "music"]
    for one in document["treatments"]:
        for line in one["lines"].values():
            assert len(line["shares"]) == len(one["levels"])
            assert all(low <= share <= high for share, low, high in line["shares"])
    assert json.loads(run(*arguments, "--json")) == document
    assert {line["verdict"] for one in document["treatments"] for line in one["lines"].values()} == {"too few"}
    assert document["speech_over_music"]["pairs"] == 5
    assert "F, speech over music" in shown
    page = (tmp_path / "stress.html").read_text()
    assert "svg" in tags_of(page)
    assert "too few" in page


def test_without_music_nothing_is_mixed_with_it(collection: Path, bundle: str, cache: Path, tmp_path: Path) -> None:
    manifest = collection.parent / "speech.csv"
    manifest.write_text("path,role\n" + "".join(f"speech/{at}.wav,speech\n" for at in range(3)))
    keep = [one for one in robustness.TREATMENTS if one.name in {"babble", "music"}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robustness, "TREATMENTS", keep)
        document = json.loads(
            run(bundle, manifest, "--stress", "--cache", cache, "--out", tmp_path, "--json", "--stress-clips", 2)
        )
    assert [one["name"] for one in document["treatments"]] == ["babble"]
    assert [one["name"] for one in document["skipped"]] == ["music"]
    assert document["speech_over_music"] is None


def test_a_tagger_is_asked_for_its_true_labels_alone_where_others_may_be_mixed_in(
    collection: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"noise", "music", "babble"}
    monkeypatch.setattr(robustness, "TREATMENTS", [one for one in robustness.TREATMENTS if one.name in names])
    monkeypatch.setattr(
        robustness, "scorer_of", lambda bundle, definitions: lambda heard: torch.tensor([[0.9, 0.8, 0.7]] * len(heard))
    )
    rules = {"names": {"speech": ["role/speech"], "music": ["role/music"], "hiss": ["role/noise"]}}
    card = {"training": {"config": {"options": rules}}}
    bundle = load_bundle(untrained(tmp_path / "t", "tags", ("speech", "music", "hiss"), card=card))
    material = read_material(collection, split="all", cache_dir=cache, progress=lambda *_: None)
    document = stress_bundle(bundle, material, clips=24, seed=0, progress=lambda *_: None)
    assert {kind: (one["items"], one["clean"][0]) for kind, one in document["kinds"].items()} == {
        "speech": (8, 1.0),
        "music": (8, 0.0),
        "other tags": (8, 0.0),
    }
    lines = {one["name"]: one["lines"] for one in document["treatments"]}
    for mixed in ("music", "babble"):  # each kind's own label is heard, whatever else is
        assert all(line["clean"][0] == line["shares"][0][0] == 1.0 for line in lines[mixed].values())
    assert [line["clean"][0] for line in lines["noise"].values()] == [1.0, 0.0, 0.0]
    assert "speech_over_music" not in document


def rights(count: int, of: int = 40) -> np.ndarray:
    return np.arange(of) < count


@pytest.mark.parametrize(
    ("clean", "treated", "verdict"),
    [
        (rights(9, 9), [rights(0, 9)], ("too few", None)),
        (rights(40), [rights(40), rights(37), rights(36), rights(0)], ("breaks", 2)),  # Wilson's end is at 91 %
        (rights(40), [rights(37), rights(40)], ("holds", None)),
        (rights(10, 10), [rights(9, 10), rights(8, 10)], ("breaks", 1)),  # the interval is wide, the bound is not
        (rights(32), [rights(32), rights(27), rights(26)], ("not right untreated", 2)),
        (rights(32), [~rights(8)], ("not right untreated", None)),  # as many became right as wrong
        (rights(20), [rights(40)], ("not right untreated", None)),
    ],
)
def test_a_verdict_is_of_what_was_right_untreated(
    clean: np.ndarray, treated: list[np.ndarray], verdict: tuple[str, int | None]
) -> None:
    assert judged(clean, treated) == verdict


def _document() -> dict[str, Any]:
    share = [0.9, 0.8, 0.95]
    verdicts = {"a": ("breaks", 0), "b": ("holds", None), "c": ("not right untreated", 1), "d": ("too few", None)}
    treatment = {
        "name": "noise",
        "words": "noise & more",
        "levels": ["5 dB", "0 dB"],
        "lines": {
            name: {"clean": share, "shares": [share, share], "verdict": verdict, "breaks": at}
            for name, (verdict, at) in verdicts.items()
        },
    }
    return {
        "bundle": "b",
        "task": "speech_music",
        "fingerprint": "0",
        "manifest": "m",
        "split": "test",
        "seed": 0,
        "bound": 0.9,
        "least": 10,
        "words": {},
        "warnings": [],
        "kinds": {name: {"items": 20, "sources": 1, "clean": share} for name in verdicts},
        "treatments": [treatment],
        "skipped": [],
        "speech_over_music": {
            "pairs": 9,
            "sources": {"speech": 2, "music": 1},
            "levels_db": [-15, 15],
            "labels": {
                "speech": {"f": [0.25, 0.5], "over_sources": [[0.2, 0.3], [0.4, 0.6]]},
                "music": {"f": [0.75, 0.125], "over_sources": [None, None]},
            },
        },
    }


def test_a_page_has_a_curve_and_a_verdict_of_each_kind() -> None:
    page = stress_page(_document())
    assert "svg" in tags_of(page)
    assert all(f"stroke: var(--c{one})" in page for one in (1, 2, 3, 4))
    row = page[page.index("<td>noise</td>") :].split("</tr>")[0]
    assert row.split("<td>")[2:] == [
        '<span class="bad">5 dB</span> (90 %)</td>',
        "holds</td>",
        'not right untreated; worse at <span class="bad">0 dB</span> (90 %)</td>',
        "too few</td>",
    ]
    assert "25.0<small>20.0\u201330.0</small>" in page
    assert "12.5<small></small>" in page


def test_a_curve_too_many_is_an_error_and_not_left_out() -> None:
    document = _document()
    lines = document["treatments"][0]["lines"]
    lines["e"] = lines["a"]
    with pytest.raises(ValueError, match="zip"):
        stress_page(document)


def test_a_terminal_says_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    show_stress(_document(), Console(width=200, highlight=False, markup=False))
    shown = capsys.readouterr().out
    cells = [
        cell.strip() for cell in next(one for one in shown.splitlines() if one.startswith("noise")).split("\u2502")
    ]
    assert cells[2:] == ["5 dB (90 %)", "holds", "not right untreated; worse at 0 dB (90 %)", "too few"]
    assert [
        cell.strip() for cell in next(one for one in shown.splitlines() if one.startswith("music (")).split("\u2502")
    ] == [
        "music (9 pairs)",
        "0.750",
        "0.125",
    ]


def _tones(kind: str, hertz: float, number: int) -> tuple[Clip, Recording]:
    pcm = (8000 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE_HZ) / RATE_HZ)).astype(np.int16)
    source = f"{kind}-{number % 2}"
    clip = Clip(
        path=Path(f"{kind}{number}.wav"),
        split="test",
        role=kind,
        label="",
        source=source,
        original_path=f"{number}.wav",
        speaker="",
        licence="",
        duration_s=3.0,
    )
    return clip, Recording(pcm=pcm, degraded=pcm, gate_db=-65.0, source=source, group=clip.key)


def _ear(heard: torch.Tensor) -> torch.Tensor:
    """Hears a tone that has a tenth of the power: speech at 440 Hz, music at 2000 Hz."""
    power = torch.fft.rfft(heard).abs().square()
    parts = [power[:, round(hertz * 5) - 20 : round(hertz * 5) + 20].sum(dim=1) for hertz in (440, 2000)]
    return (torch.stack(parts, dim=1) > 0.1 * power.sum(dim=1, keepdim=True)).float()


def test_speech_lies_over_music_as_loud_as_it_says() -> None:
    made = [_tones(kind, hertz, at) for kind, hertz in (("speech", 440), ("music", 2000)) for at in range(3)]
    material = Material("m.csv", "test", [clip for clip, _ in made], [recording for _, recording in made])
    kinds = [clip.role for clip, _ in made]
    found = speech_over_music(material, kinds, _ear, pairs=6, seed=0, progress=lambda *_: None)
    assert found is not None
    assert found["levels_db"] == [-15, -10, -5, 0, 5, 10, 15]
    assert (found["pairs"], found["sources"]) == (6, {"speech": 2, "music": 2})
    assert found["labels"]["speech"]["f"] == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert found["labels"]["music"]["f"] == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert found["labels"]["speech"]["over_sources"][-1] == [1.0, 1.0]
    always = speech_over_music(
        material, kinds, lambda heard: torch.ones(len(heard), 2), pairs=4, seed=0, progress=lambda *_: None
    )
    assert always is not None
    assert always["labels"]["music"]["precision"] == [0.5] * 7
    assert speech_over_music(material, ["speech"] * 6, _ear, pairs=4, seed=0, progress=lambda *_: None) is None
