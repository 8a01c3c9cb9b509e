"""A manifest and a configuration out of folders: what is whole stays whole, and each label is measured."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.cli.training_display import show_scaffold
from catalog_tagger.errors import UsageError
from catalog_tagger.training.config import read_config
from catalog_tagger.training.manifest import read_manifest, split_clips
from catalog_tagger.training.prepare import kind_of
from catalog_tagger.training.scaffold import scaffold

NAMES = st.lists(
    st.tuples(
        st.sampled_from(["dog", "rain", "dog;rain"]),
        st.sampled_from(["", "", "Rex", "Dr. Who", "näbbmus"]),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=60,
    unique=True,
)


def _put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@settings(max_examples=30, deadline=None)
@given(NAMES)
def test_what_lies_in_one_folder_is_on_one_side(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str, int]]
) -> None:
    place = tmp_path_factory.mktemp("made")
    files = [f"{label}/{unit}/{number}.wav" if unit else f"{label}/{number}.wav" for label, unit, number in names]
    made = scaffold(_put(place / "recordings", *files), place / "mine.yaml")
    clips = read_manifest(made.manifest)
    assert len(clips) == len(files)
    assert all(clip.path.is_file() for clip in clips)
    split = split_clips(clips, hold_out=(), fraction=0.0, seed=0)
    assert len(split.train) == len(files) - sum(made.test.values()) - sum(made.validation.values())
    sides: dict[str, set[str]] = defaultdict(set)
    units: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        unit = clip.speaker or str(clip.path)
        sides[unit].add(clip.split)
        units[clip.label].add(unit)
    assert all(len(side) == 1 for side in sides.values())
    for found in units.values():
        if len(found) >= 3:
            assert any(sides[unit] == {"test"} for unit in found)
        assert any(sides[unit] == {"train"} for unit in found)
    try:
        held = split_clips(clips, hold_out=(), fraction=0.4, seed=1)
    except UsageError:
        return
    train, validation = ({clip.speaker for clip in side if clip.speaker} for side in (held.train, held.validation))
    assert not train & validation


@pytest.mark.parametrize(
    ("labels", "task", "roles"),
    [
        (("speech", "music"), "speech_music", {"speech", "music"}),
        (("speech", "music", "noise"), "speech_music", {"speech", "music", "noise"}),
        (("female", "male"), "voice_gender", {"speech"}),
        (("female", "male", "noise"), "voice_gender", {"speech", "noise"}),
        (("female", "male", "music", "singing"), "voice_gender", {"speech", "music"}),
        (("female", "male", "dog"), "tags", {"tag"}),
        (("female", "noise"), "tags", {"tag"}),
        (("speech", "flute"), "tags", {"tag"}),
        (("dog",), "tags", {"tag"}),
    ],
)
def test_labels_decide_the_task(tmp_path: Path, labels: tuple[str, ...], task: str, roles: set[str]) -> None:
    recordings = _put(tmp_path / "recordings", *(f"{label}/{n}.flac" for label in labels for n in range(4)))
    made = scaffold(recordings, tmp_path / "My labels.yaml")
    assert made.task == task
    assert made.clips == dict.fromkeys(sorted(labels), 4)
    config = read_config(made.config)
    assert (config.task, config.name, config.manifest) == (task, "my_labels", made.manifest)
    clips = read_manifest(made.manifest)
    assert {clip.role for clip in clips} == roles
    spoken = "f" * 4 + "m" * 4 if task == "voice_gender" else ""
    assert "".join(clip.gender for clip in clips) == spoken
    if task == "voice_gender":
        kinds = {"female": "speech", "male": "speech"}
        assert {kind_of(clip, config.clips) for clip in clips} == {kinds.get(label, label) for label in labels}


@pytest.mark.parametrize(("each", "validated", "tested"), [(2, 0, 0), (3, 0, 1), (4, 1, 1), (14, 2, 2)])
def test_of_every_label_that_has_enough_something_is_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], each: int, validated: int, tested: int
) -> None:
    recordings = _put(tmp_path / "recordings", *(f"{label}/{n}.wav" for label in ("dog", "rain") for n in range(each)))
    made = scaffold(recordings, tmp_path / "mine.yaml")
    config = read_config(made.config)
    assert made.validation == {"dog": validated, "rain": validated}
    assert made.test == {"dog": tested, "rain": tested}
    assert (config.report_on_test, config.optimisation.patience > 0) == (tested > 0, validated > 0)
    show_scaffold(made)
    shown = capsys.readouterr().out
    assert f"dog: {each} clips, of them {validated} to validate on, {tested} to test" in shown
    for split, count in (("validation", validated), ("test", tested)):
        assert (f"warning: nothing of dog, rain is kept for {split}:" in shown) is (count == 0)


def test_a_configuration_is_used_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_put(tmp_path, "recordings/dog/1.wav"))
    made = scaffold(Path("recordings"), Path("kept/mine.yaml"))
    assert read_config(made.config).manifest == Path("kept/mine.csv")
    monkeypatch.chdir(tmp_path / "recordings")
    assert read_manifest(read_config(Path("../kept/mine.yaml")).manifest)[0].path.is_file()
    assert read_config(Path("../kept/mine.yaml"), ["manifest=here.csv"]).manifest == Path("here.csv")


def test_a_label_whose_only_folder_is_shared_with_another_is_trained_on(tmp_path: Path) -> None:
    shared = [f"dog/{unit}/1.wav" for unit in "abcdefg"]
    for unit in "abcdefg":
        place = tmp_path / unit
        made = scaffold(_put(place / "recordings", *shared, f"rain/{unit}/1.wav"), place / "mine.yaml")
        trained = {clip.label for clip in read_manifest(made.manifest) if clip.split == "train"}
        assert trained == {"dog", "rain"}


def test_names_in_brackets_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = scaffold(_put(tmp_path / "recordings", "[laugh]/1.wav"), tmp_path / "my [flac].yaml")
    show_scaffold(made)
    shown = capsys.readouterr().out
    assert "[laugh]: 1 clips" in shown
    assert f"catalog-tagger train '{tmp_path / 'my [flac].yaml'}' --out 'my [flac]'" in shown


def test_refuses_what_it_cannot_begin_with(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    with pytest.raises(UsageError, match=r"none: is no folder; it should hold one subfolder of audio per label"):
        scaffold(tmp_path / "none", config)
    with pytest.raises(UsageError, match=r"loose: holds no folder"):
        scaffold(_put(tmp_path / "loose", "a.wav"), config)
    with pytest.raises(UsageError, match=r"cat: holds no audio"):
        scaffold(_put(tmp_path / "bad", "dog/a.wav", "cat/notes.txt", "cat/._b.wav"), config)
    assert not config.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written: .*name another place"):
        scaffold(_put(tmp_path / "fine", "dog/a.wav"), tmp_path / "file" / "mine.yaml")
    assert scaffold(tmp_path / "fine", tmp_path / "new" / "mine.yaml").config.exists()
    config.with_suffix(".csv").write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.csv: exists"):
        scaffold(_put(tmp_path / "good", "dog/a.wav"), config)
    assert config.with_suffix(".csv").read_text() == "mine"
