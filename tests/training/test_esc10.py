"""The five-fold protocol, on sounds made for it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from toy_collection import write_wav

from catalog_tagger.errors import UsageError
from catalog_tagger.models.heads import HEADS
from catalog_tagger.models.vgg import VGGTagger, VGGTrunk
from catalog_tagger.training.esc10 import VIEWS, main, views_of
from catalog_tagger.training.manifest import read_manifest

SMALL = ["--channels", "4,8", "--hidden", "8", "--batch-size", "4", "--takes", "1", "--dropout", "0"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("esc")
    rng, time_s = np.random.default_rng(0), np.arange(80000) / 16000
    rows = []
    for fold in range(1, 6):
        for name, hz in (("low", 200.0), ("high", 2000.0)):
            path = f"{fold}-{name}.wav"
            write_wav(folder / path, 0.3 * np.sin(2 * np.pi * hz * rng.uniform(0.95, 1.05) * time_s))
            row = {"path": path, "split": "train", "role": "tag", "label": f"esc10_{name}", "source": "esc"}
            rows.append(row | {"original_path": f"{name}/{fold}-{len(rows)}-A.ogg"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


def run(manifest: Path, out: Path, *more: str, steps: int = 1) -> dict[str, object]:
    cache = str(manifest.parent / "cache")
    main(["--manifest", str(manifest), "--cache", cache, "--out", str(out), "--steps", str(steps), *SMALL, *more])
    content: dict[str, object] = json.loads((out / "results.json").read_text())
    return content


def test_every_fold_is_measured_once_and_kept_by_the_next_run(manifest: Path, tmp_path: Path) -> None:
    first = run(manifest, tmp_path, "--folds", "2")
    assert list(first["answers"]["views"]) == ["2"]
    both = run(manifest, tmp_path, "--folds", "1,2")
    assert both["answers"]["views"]["2"] == first["answers"]["views"]["2"]
    assert both["labels"] == ["high", "low"]
    for head in (*HEADS, "mean of the heads"):
        accuracy = both["heads"][head]["one view"]["accuracy"]
        assert (accuracy["of"], len(accuracy["wilson"])) == (4, 2)
    assert sum(map(sum, both["confusion"])) == 4
    table = (tmp_path / "results.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in table if line.startswith("| ")}
    assert {*HEADS, "mean of the heads", "high", "low"} <= set(rows)
    right = both["heads"]["mean of the heads"]["views"]["accuracy"]
    assert f"{100 * right['share']:.1f} % of 4" in rows["mean of the heads"]
    with pytest.raises(UsageError, match="folds of other settings"):
        run(manifest, tmp_path, "--folds", "3", steps=2)


def test_a_trunk_is_taken_only_where_it_fits(manifest: Path, tmp_path: Path) -> None:
    from catalog_tagger.training import esc10

    for name, channels in (("fits", (4, 8)), ("other", (4, 6))):
        state = VGGTagger(n_labels=3, channels=channels, hidden=5).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / f"{name}.safetensors")
    trunk = VGGTrunk(channels=(4, 8))
    trunk.load_state_dict(esc10._trunk_in(tmp_path / "fits.safetensors", trunk))
    with pytest.raises(UsageError, match="no trunk of a vgg_tagger"):
        run(manifest, tmp_path, "--folds", "1", "--trunk", str(tmp_path / "other.safetensors"))
    with pytest.raises(UsageError, match="cannot be read"):
        run(manifest, tmp_path, "--folds", "1", "--trunk", str(tmp_path / "none.safetensors"))


def test_settings_are_tried_without_the_fold_of_the_figures(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catalog_tagger.training import esc10

    seen: list[np.ndarray] = []
    part, measure = esc10._part, esc10._measure
    monkeypatch.setattr(esc10, "_part", lambda bank, chosen: seen.append(chosen) or part(bank, chosen))
    monkeypatch.setattr(
        esc10,
        "_measure",
        lambda model, bank, chosen, n_labels: seen.append(chosen) or measure(model, bank, chosen, n_labels=n_labels),
    )
    run(manifest, tmp_path, "--folds", "5", "--inner")
    folds = [[int(read_manifest(manifest)[clip].original_path.split("/")[1][0]) for clip in chosen] for chosen in seen]
    assert folds == [[2, 2, 3, 3, 4, 4], [1, 1]]


def test_a_name_without_a_fold_is_one_clear_error(manifest: Path, tmp_path: Path) -> None:
    text = manifest.read_text().replace("low/3-", "low/x-")
    other = manifest.with_name("other.csv")
    other.write_text(text)
    with pytest.raises(UsageError, match="does not begin with a fold"):
        run(other, tmp_path)


def test_views_begin_elsewhere_and_the_first_of_each_beginning_is_transposed() -> None:
    features = torch.arange(24.0).view(1, 8, 3)
    views = views_of(features)
    assert len(views) == len(VIEWS)
    plain = views[VIEWS.index((0.0, 0))]
    torch.testing.assert_close(plain, features)
    torch.testing.assert_close(views[VIEWS.index((0.25, 0))][0, 0], features[0, 2])
