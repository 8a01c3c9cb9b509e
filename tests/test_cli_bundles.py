"""Cards as the command shows them: whole, on eighty columns, and whatever stands in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from catalog_tagger.cli.bundles import bundles
from catalog_tagger.errors import UsageError
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import load_bundle, save_bundle, shipped_bundles
from catalog_tagger.models.calibration import Calibration
from catalog_tagger.training.reports import folder_of, read_reports

LABEL = {"value": 0.95, "over_sources": [0.91, 0.98]}
UNMEASURED = {"value": 0.5, "over_sources": None}
SHARE = {"right": 9, "of": 10, "share": 0.9, "wilson": [0.6, 0.98], "over_sources": None}


def _show(*arguments: str) -> str:
    return CliRunner().invoke(bundles, ["show", *arguments], catch_exceptions=False, env={"COLUMNS": "80"}).stdout


def _words(text: str) -> str:
    return "".join(text.split())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = {"name": "residual_cnn", "n_labels": 2, "channels": [4, 8], "hidden": 8}
    folder = tmp_path_factory.mktemp("bundles") / "voices"
    torch.manual_seed(0)
    fingerprint = save_bundle(
        folder,
        name="voices",
        task="voice_gender",
        labels=("female", "voice"),
        architecture=architecture,
        frontend={"name": "cqt"},
        model=build_model(architecture),
        calibration=Calibration.identity(2),
        decision={"abstain_below": 0.75},
        card={
            "purpose": "Whose [bold]voice it is.",
            "figures": {
                "validation": {
                    "clips": {**SHARE, "labels": {"female": {"true": 7, "recall": LABEL, "f": UNMEASURED}}},
                    "over": "recordings",
                    "groups": [{"truth": "female", "group": "acted", **SHARE, "unknown": 0.1}],
                    "sources": [{"truth": "male", "source": "far/room", "clips": 5, "clips_gender": 0.2}],
                },
            },
            "limits": ["Children [were] never heard."],
        },
    )
    stress = {
        "format": 2,
        "fingerprint": fingerprint,
        "bound": 0.9,
        "least": 10,
        "kinds": {
            "female": {"items": 30, "sources": 2, "clean": [0.97, 0.9, 0.99]},
            "male": {"items": 9, "sources": 2, "clean": [1.0, 0.7, 1.0]},
            "unknown": {"items": 30, "sources": 2, "clean": [0.8, 0.6, 0.9]},
        },
        "treatments": [
            {
                "name": "noise",
                "levels": ["5 dB", "0 dB"],
                "lines": {
                    "female": {"verdict": "breaks", "breaks": 1},
                    "male": {"verdict": "too few", "breaks": None},
                    "unknown": {"verdict": "not right untreated", "breaks": 0},
                },
            },
            {
                "name": "mp3",
                "levels": ["8 kb/s"],
                "lines": {
                    "female": {"verdict": "holds", "breaks": None},
                    "male": {"verdict": "too few", "breaks": None},
                    "unknown": {"verdict": "not right untreated", "breaks": None},
                },
            },
        ],
    }
    (folder / "reports").mkdir()
    (folder / "reports" / "stress.json").write_text(json.dumps(stress))
    return folder


def test_a_card_says_what_the_bundle_is_and_where_it_breaks(measured: Path) -> None:
    shown = _show(str(measured))
    assert "Whose [bold]voice it is." in shown
    assert "thresholds  abstain_below 0.75" in shown
    assert "calibration none" in shown
    assert "90.0 % of 10" in shown
    assert "far/room (male, 5 clips): gender 20 %" in shown
    told = _words(shown)
    assert _words("female (97 % of 30 untreated) breaks at noise 0 dB; stands mp3") in told
    assert _words("male (100 % of 9 untreated): too few") in told
    assert _words("unknown (80 % of 30 untreated) is not right untreated; worse at noise 5 dB") in told
    assert shown.count("stands") == 1
    assert ".91-.98" in shown
    assert "95 % (recordings)" in shown
    assert "- Children [were] never heard." in shown
    assert _words(str(measured / "reports" / "stress.html")) in _words(shown)
    content = json.loads(_show(str(measured), "--json"))
    assert content["decision"] == {"abstain_below": 0.75}
    assert content["reports"] == {"stress": str(measured / "reports" / "stress.html")}


def test_reports_of_another_state_of_the_bundle_are_passed_over(measured: Path, tmp_path: Path) -> None:
    other = tmp_path / "voices"
    shutil.copytree(measured, other)
    path = other / "reports" / "stress.json"
    path.write_text(path.read_text().replace(load_bundle(other).fingerprint, "0123456789abcdef"))
    assert "Reports" not in _show(str(other))
    path.write_text(json.dumps({"format": 1, "fingerprint": load_bundle(other).fingerprint}))
    assert read_reports(other, load_bundle(other).fingerprint) == {}
    path.write_text("[]")
    with pytest.raises(UsageError, match=r"stress\.json: is not a report"):
        read_reports(other, "0")


@pytest.mark.parametrize("name", shipped_bundles())
def test_a_shipped_card_is_whole_on_eighty_columns(name: str) -> None:
    shown = _show(name)
    assert max(map(len, shown.splitlines())) <= 80
    card = load_bundle(name).card
    told = _words(shown)
    assert card["limits"]
    assert card["training_sources"]
    for text in card["limits"]:
        assert _words(text) in told


@pytest.mark.parametrize("name", shipped_bundles())
def test_reports_that_ship_are_those_of_the_bundle(name: str) -> None:
    if not folder_of(name).exists():
        pytest.skip(f"{name} ships without reports")
    fingerprint = load_bundle(name).fingerprint
    found = read_reports(name, fingerprint)
    assert sorted(found) == ["evaluation", "stress"]
    for page, document in found.values():
        assert document["split"] == "test"
        assert fingerprint in page.read_text(encoding="utf-8")
    assert len(list(folder_of(name).iterdir())) == 4
