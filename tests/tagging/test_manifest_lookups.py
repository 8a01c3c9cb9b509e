"""How what a manifest leaves out is found in object storage: by name where few are meant, else by a listing."""

from pathlib import Path
from typing import Any

import pytest
from fault_proxy import proxied
from servers import BUCKET, S3Server

from catalog_tagger.tagging import manifests
from catalog_tagger.tagging.sources import list_tracks


def looked_up(folder: Path, uris: list[str]) -> list[dict[str, Any]]:
    lines = "".join(f"{i},{uri}\n" for i, uri in enumerate(uris))
    (folder / "m.csv").write_text(f"track_id,uri\n{lines}")
    found: list[dict[str, Any]] = list_tracks(f"{folder}/m.csv").to_pylist()
    return found


def test_few_objects_are_asked_for_and_many_listed_with_the_same_answers(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path.name
    uris = s3.put_all({f"{prefix}/{i} ü.mp3": b"x" * (i + 1) for i in range(60)})
    s3.put(f"{prefix}/folder.mp3/below.mp3", b"y")
    with proxied(s3, monkeypatch) as proxy:
        asked = looked_up(tmp_path, uris[:5])
        assert (proxy.requests["HEAD"], proxy.requests["GET"]) == (5, 0)
        proxy.forget()
        listed = looked_up(tmp_path, uris)
        assert proxy.requests["HEAD"] == 0
        assert proxy.requests["GET"] >= 1
        assert listed[:5] == asked
        assert [row["size_bytes"] for row in listed] == list(range(1, 61))
        assert all(row["etag"] for row in listed)

        proxy.forget()
        monkeypatch.setattr(manifests, "_FEW_IN_ALL", 4)
        assert looked_up(tmp_path, uris[:5]) == asked
        assert proxy.requests["HEAD"] == 0, "many folders with few objects each"


@pytest.mark.parametrize("few", [50, 0])
def test_what_is_no_object_stays_unknown_either_way(
    few: int, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "_FEW_OF_A_FOLDER", few)
    place = f"s3://{BUCKET}/{tmp_path.name}"
    s3.put_all({f"{tmp_path.name}/a.mp3": b"a", f"{tmp_path.name}/folder.mp3/below.mp3": b"y"})
    uris = [f"{place}/{name}" for name in ("a.mp3", "folder.mp3", "gone.mp3", "no/folder/x.mp3", "folder.mp3//a.mp3")]
    assert [row["size_bytes"] for row in looked_up(tmp_path, uris)] == [1, None, None, None, None]


def test_a_listing_of_a_local_folder_takes_the_files_that_are_meant_alone(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.mp3").write_bytes(b"x" * i)
    found = manifests._found(list_tracks(str(tmp_path)).sort_by("track_id")["uri"].slice(1, 2))
    assert sorted(found["uri"].to_pylist()) == [f"{tmp_path}/1.mp3", f"{tmp_path}/2.mp3"]
