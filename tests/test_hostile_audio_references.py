"""Files that lead to other files and addresses: whatever they name, nothing of it is opened or reached."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np
import pytest
from audio_files import tone, write
from hostile_files import (
    PLAYLISTS,
    OpenWatch,
    listening,
    matroska,
    references,
    was_called,
    with_alias_reference,
)

from catalog_tagger.errors import QUARANTINE_CODES, AudioError
from catalog_tagger.tagging.decoding import decode
from catalog_tagger.tagging.encoded import Encoded

#: files with sound of their own beside what they refer to; that of a file with an alias is never looked for
WITH_SOUND = {"id3-links", "flac-picture", "asf-script", "mp4-url-reference"}


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[tuple[Path, OpenWatch]]:
    """A good audio file that nothing may lead to."""
    path = tmp_path / "canary.mp3"
    write(path, tone(2.0, rate_hz=48000), rate_hz=48000, codec="mp3")
    watch = OpenWatch(path)
    yield path, watch
    watch.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening() as sock:
        yield sock


def ways_to(path: Path) -> list[str]:
    """Spellings of a local place, some of which only certain protocols know."""
    return [
        str(path),
        path.name,
        f"file://{path}",
        f"file:{path}",
        f"subfile,,start,0,end,0,,:{path}",
        f"concat:{path}",
        f"cache:{path}",
        f"async:file:{path}",
        f"crypto:file:{path}",
    ]


def heard(bait: Path) -> AudioError | None:
    """How decoding ends, from the file by its misleading name and from its bytes."""
    ends = []
    for encoded in (Encoded(path=str(bait)), Encoded(data=np.fromfile(bait, np.uint8))):
        *_, end = decode(encoded, max_duration_s=3600.0)
        assert end is None or isinstance(end, AudioError)
        ends.append(end)
    assert str(ends[0]) == str(ends[1])
    return ends[0]


@pytest.mark.parametrize("suffix", [".mp3", ".m4a"])
def test_what_a_file_refers_to_is_not_opened(suffix: str, canary: tuple[Path, OpenWatch], tmp_path: Path) -> None:
    path, watch = canary
    for place in ways_to(path):
        for kind, data in references(tmp_path, place).items():
            bait = tmp_path / f"bait{suffix}"
            bait.write_bytes(data)
            end = heard(bait)
            if kind in PLAYLISTS or kind == "matroska":
                assert end is not None, kind
                assert end.code == "not_audio", kind
            elif kind in WITH_SOUND:
                assert end is None, (kind, end)
            else:
                assert end is not None
                assert end.code in QUARANTINE_CODES
        assert not watch.saw_any(), place


@pytest.mark.parametrize("prefix", ["\ufeff", "ID3", "\n\n"])
def test_a_playlist_behind_something_else_opens_nothing(
    prefix: str, canary: tuple[Path, OpenWatch], tmp_path: Path
) -> None:
    path, watch = canary
    bait = tmp_path / "bait.mp3"
    for text in PLAYLISTS.values():
        bait.write_text(prefix + text.format(place=path.name, host="127.0.0.1", port=9))
        end = heard(bait)
        assert end is not None
        assert end.code == "not_audio"
    assert not watch.saw_any()


@pytest.mark.parametrize("scheme", ["http", "https", "tcp", "udp", "rtmp", "rtsp", "ftp", "gopher", "hls+http", "mmsh"])
def test_what_a_file_refers_to_is_not_reached(scheme: str, listener: socket.socket, tmp_path: Path) -> None:
    host, port = listener.getsockname()
    for data in references(tmp_path, f"{scheme}://{host}:{port}/a.mp3", host=host, port=port).values():
        (tmp_path / "bait.mp3").write_bytes(data)
        heard(tmp_path / "bait.mp3")
    assert not was_called(listener)


# --- the traps work --------------------------------------------------------------------------------


def test_a_script_catches_a_reader_without_an_allow_list(
    canary: tuple[Path, OpenWatch], listener: socket.socket, tmp_path: Path
) -> None:
    path, watch = canary
    bait = tmp_path / "bait.ffconcat"
    bait.write_text(PLAYLISTS["ffconcat"].format(place=path.name))
    with av.open(str(bait)) as container:
        next(container.decode(audio=0))
    assert watch.saw_any()
    host, port = listener.getsockname()
    bait.write_text(PLAYLISTS["ffconcat"].format(place=f"tcp://{host}:{port}/a.mp3"))
    with pytest.raises(av.error.FFmpegError):
        av.open(str(bait), timeout=0.5, options={"safe": "0", "protocol_whitelist": "file,tcp"})
    assert was_called(listener)


def test_an_alias_catches_a_reader_that_follows_references(canary: tuple[Path, OpenWatch], tmp_path: Path) -> None:
    path, watch = canary
    good = write(tmp_path / "good.m4a", tone(2.0, rate_hz=44100), rate_hz=44100, codec="aac").read_bytes()
    options = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(io.BytesIO(with_alias_reference(good, str(path))), options=options) as container:
        assert container.streams.audio
    assert watch.saw_any()


def test_a_container_that_is_not_on_the_list_is_one_that_could_be_read(tmp_path: Path) -> None:
    with av.open(io.BytesIO(matroska(tmp_path, "x"))) as container:
        assert next(container.decode(audio=0)).samples > 0


# --- the whole job ---------------------------------------------------------------------------------


@pytest.mark.xdist_group("ray")
def test_a_catalogue_of_traps_is_tagged_without_touching_what_they_name(
    local_ray: None, bundle: str, canary: tuple[Path, OpenWatch], listener: socket.socket, tmp_path: Path
) -> None:
    from catalog_tagger.storage import Store
    from catalog_tagger.tables.views import query
    from catalog_tagger.tagging.config import make_config
    from catalog_tagger.tagging.job import run_tag_job

    path, watch = canary
    host, port = listener.getsockname()
    source = tmp_path / "audio"
    source.mkdir()
    for way, place in (("file", str(path)), ("sibling", f"../{path.name}"), ("http", f"http://{host}:{port}/a.mp3")):
        for kind, data in references(tmp_path, place, host=host, port=port).items():
            for suffix in (".mp3", ".m4a"):
                (source / f"{kind}-{way}{suffix}").write_bytes(data)
    config = make_config(source=str(source), warehouse=str(tmp_path / "tables"), bundles=(bundle,), run_id="r")
    manifest = run_tag_job(config).manifest
    assert not watch.saw_any()
    assert not was_called(listener)
    assert manifest is not None
    assert manifest.tracks == len(list(source.iterdir())) == manifest.tagged + manifest.quarantined
    rows = query(Store(config.warehouse), "SELECT track_id, error_code FROM tracks").to_pylist()
    for row in rows:
        kind = row["track_id"].rsplit("-", maxsplit=1)[0]
        assert (row["error_code"] is None) == (kind in WITH_SOUND), row
