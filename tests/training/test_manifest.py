"""The split: nothing that belongs together is ever on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_collection import write_collection

from catalog_tagger.errors import UsageError
from catalog_tagger.training.manifest import (
    MAX_COPIES,
    Clip,
    groups,
    leaked_test_rows,
    read_manifest,
    split_clips,
)
from catalog_tagger.training.measure import select


def _clip(number: int, source: str, stem: str, speaker: str, split: str = "train") -> Clip:
    return Clip(
        path=Path(f"{number}.opus"),
        split=split,
        role="speech",
        label="",
        source=source,
        original_path=f"somewhere/{number % 2}/{stem}.wav",
        speaker=speaker,
        licence="",
        duration_s=1.0,
    )


CLIPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([f"t{n}" for n in range(12)]),
        st.sampled_from([f"p{n}" for n in range(8)]),
        st.sampled_from(["train", "test"]),
    ),
    min_size=4,
    max_size=60,
)


@given(CLIPS, st.integers(0, 100), st.floats(0.1, 0.6))
def test_no_stem_and_no_voice_is_on_both_sides(
    rows: list[tuple[str, str, str, str]], seed: int, fraction: float
) -> None:
    clips = [_clip(number, *row) for number, row in enumerate(rows)]
    try:
        split = split_clips(clips, hold_out=["a/*/t0.wav"], fraction=fraction, seed=seed)
    except UsageError:
        return
    train = [clip for clip in clips if clip.split == "train"]
    name = dict(zip((clip.path for clip in train), groups(train), strict=True))
    assert len(split.train) + len(split.validation) == len(train)
    assert not {name[one.path] for one in split.train} & {name[one.path] for one in split.validation}
    several = {source for source in "ab" if len({one.speaker for one in train if one.source == source}) > 1}
    for one in split.train:
        assert one.split == "train"
        for other in split.validation:
            if one.source == other.source:
                assert one.speaker != other.speaker or one.source not in several
                assert Path(one.original_path).stem != Path(other.original_path).stem
    assert not any(one.source == "a" and Path(one.original_path).stem == "t0" for one in split.train)


@given(st.permutations(range(12)))
def test_groups_do_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    clips = [_clip(number, "a", f"t{number // 2}", f"p{number // 3}") for number in range(12)]
    straight = dict(zip((clip.path for clip in clips), groups(clips), strict=True))
    shuffled = [clips[place] for place in order]
    assert dict(zip((clip.path for clip in shuffled), groups(shuffled), strict=True)) == straight


def test_a_collection_name_is_not_a_voice() -> None:
    clips = [_clip(number, "a", f"t{number}", "the collection" if number else "") for number in range(5)]
    assert len(set(groups(clips))) == 5


def test_two_names_in_a_source_are_two_voices() -> None:
    clips = [_clip(number, "a", f"t{number}", f"p{number % 2}") for number in range(6)]
    assert len(set(groups(clips))) == 2


def test_test_rows_that_are_trained_on_are_found() -> None:
    train = [_clip(number, "a", f"t{number}", f"p{number}", ("train", "validation")[number]) for number in range(2)]
    same_voice, same_stem = _clip(2, "a", "t2", "p1", "test"), _clip(3, "a", "t0", "", "test")
    others = [_clip(4, "b", "t0", "p0", "test"), _clip(5, "a", "t5", "p5", "test"), _clip(6, "a", "t0", "", "kept")]
    assert leaked_test_rows([*others, same_stem, *train, same_voice]) == [same_stem, same_voice]


def test_reads_what_it_needs(tmp_path: Path) -> None:
    clips = read_manifest(write_collection(tmp_path, per_kind=4))
    assert len(clips) == 12
    assert {clip.split for clip in clips} == {"train", "test"}
    assert all(clip.path.exists() for clip in clips)


def test_what_a_row_leaves_out_follows_from_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "\ufeffpath,label,gender\na.wav,speech,\nb.wav,dog;rain,\nc.wav,,f\nd.wav, Music,\n", encoding="utf-8"
    )
    clips = read_manifest(path)
    assert [clip.role for clip in clips] == ["speech", "tag", "speech", "music"]
    assert {clip.source for clip in clips} == {"mine"}
    assert {clip.split for clip in clips} == {"train"}
    assert clips[0].path == tmp_path / "a.wav"


def test_whole_sources_are_held_out_when_asked() -> None:
    clips = [_clip(number, f"s{number % 20}", f"t{number}", "") for number in range(200)]
    split = split_clips(clips, hold_out=["s0/*/t0.wav"], fraction=0.3, seed=1, by="source")
    held = {clip.source for clip in split.validation}
    assert not held & {clip.source for clip in split.train}
    assert 1 < len(held) < 12
    assert "s0" in held


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks the column path; it has none"),
        ("file,label\na,speech\n", "lacks the column path; it has file, label"),
        ("label,path\ndog,a.wav\ncat,\n", "line 3: the row has no path"),
        ("path,role,source\n", "has no rows"),
        ("path,label\na,dog\nb,dog\na,rain\n", "line 4: .*a is on line 2 already; give a clip one row"),
        ("path,role,source\na,singing,x\n", "line 2: role is 'singing'"),
        ("path,role,source,duration_s\na,music,x,long\n", "line 2: duration_s is 'long'"),
        ("path,role,source,duration_s\na,music,x,nan\n", "line 2: duration_s is 'nan'; give seconds"),
    ],
)
def test_a_bad_manifest_is_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_manifest(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv"):
        read_manifest(tmp_path / "none.csv")


def test_rows_of_a_validation_split_are_validated_on_with_what_belongs_to_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    rows = ["a.wav,,one", "b.wav,Train,two", "c.wav,val,three", "d.wav,,three", "e.wav,TEST,four", "f.wav,later,five"]
    path.write_text("\n".join(["path,split,original_path", *rows]), encoding="utf-8")
    clips = read_manifest(path)
    assert [clip.split for clip in clips] == ["train", "train", "validation", "train", "test", "later"]
    split = split_clips(clips, hold_out=[], fraction=0.0, seed=1)
    assert [clip.path.name for clip in split.train] == ["a.wav", "b.wav"]
    assert [clip.path.name for clip in split.validation] == ["c.wav", "d.wav"]
    assert [clip.path.name for clip in select(path, split="dev")] == ["c.wav"]


def test_a_name_that_every_folder_holds_makes_no_group(tmp_path: Path) -> None:
    rows = [f"{number:04}/audio.wav,train" for number in range(MAX_COPIES + 1)]
    rows += [f"{place}/call.wav,train" for place in ("wide", "narrow")]
    (tmp_path / "m.csv").write_text("path,split\n" + "\n".join(rows) + "\n")
    names = groups(read_manifest(tmp_path / "m.csv"))
    assert len(set(names[:-2])) == MAX_COPIES + 1
    assert names[-1] == names[-2]
