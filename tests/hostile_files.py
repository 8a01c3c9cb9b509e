"""Files that name other files and addresses, and traps that see whether anything goes there."""

import ctypes
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from audio_files import glide, write

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl")

#: text that players follow; `{place}` is where it leads, `{host}` and `{port}` the listener
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{place}\n#EXT-X-ENDLIST\n",
    "hls-master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000\n{place}\n",
    "hls-key": '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-KEY:METHOD=AES-128,URI="{place}"\n#EXTINF:5,\n{place}\n',
    "hls-map": '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MAP:URI="{place}"\n#EXTINF:5,\n{place}\n#EXT-X-ENDLIST\n',
    "m3u": "{place}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{place}'\nduration 5\n",
    "ffconcat-options": "ffconcat version 1.0\nfile '{place}'\noption protocol_whitelist file,tcp,http\nduration 5\n",
    "concat-protocol": "concat:{place}|{place}\n",
    "data-protocol": "data:audio/mpeg;base64,{place}\n",
    "crypto-protocol": "crypto:{place}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 {host}\ns=x\nc=IN IP4 {host}\nt=0 0\nm=audio {port} RTP/AVP 0\na=control:{place}\n",
    "rtsp-text": "rtsptext\nrtsp://{host}:{port}/a\n{place}\n",
    "quicktime-text": "RTSPtext\nRTSP://{host}:{port}/a\n{place}\n",
    "pls": "[playlist]\nFile1={place}\nNumberOfEntries=1\n",
    "asx": '<asx version="3.0"><entry><ref href="{place}"/></entry></asx>',
    "asx-entryref": '<ASX VERSION="3.0"><ENTRYREF HREF="{place}"/></ASX>',
    "wpl": '<?wpl version="1.0"?><smil><body><seq><media src="{place}"/></seq></body></smil>',
    "xspf": "<playlist><trackList><track><location>{place}</location></track></trackList></playlist>",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    "<Representation><BaseURL>{place}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "dash-template": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT9S"><Period><AdaptationSet contentType="audio"><SegmentTemplate duration="9" '
    'initialization="{place}" media="{place}"/><Representation id="1" bandwidth="1"/></AdaptationSet></Period></MPD>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>{place}</Id></CompositionPlaylist>",
    "asf-reference": "[Reference]\nRef1={place}\n",
    "smil": "<smil><body><audio src='{place}'/></body></smil>",
    "url-line": "file:{place}",
    "avisynth": 'DirectShowSource("{place}")\n',
    "lavfi": "amovie={place}\n",
    "vobsub": "# VobSub index file, v7\nsize: 720x480\nid: en, index: 0\n"
    "timestamp: 00:00:01:000, filepos: 0\n# {place}\n",
    "srt": "1\n00:00:00,000 --> 00:00:05,000\n{place}\n",
    "webvtt": "WEBVTT\n\n00:00.000 --> 00:05.000\n{place}\n",
    "ass": "[Script Info]\nScriptType: v4.00+\nAudio File: {place}\n\n[Events]\n"
    "Dialogue: 0,0:00:00.00,0:00:05.00,,,0,0,0,,x\n",
    "cue": 'FILE "{place}" MP3\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "ffmetadata": ";FFMETADATA1\ntitle={place}\n",
}


def _with_box(data: bytes, old: bytes, new: bytes) -> bytes:
    """An MP4 file whose index, at its end, has another box in the place of one."""
    at = data.index(old)
    parents = [where for name in _PARENTS if (where := data.rfind(name, 0, at)) >= 0]
    out = bytearray(data)
    for where in parents:
        size = int.from_bytes(out[where - 4 : where], "big")
        if where - 4 + size >= at + len(old):
            out[where - 4 : where] = struct.pack(">I", size + len(new) - len(old))
    return bytes(out[:at]) + new + bytes(out[at + len(old) :])


def _box(data: bytes, name: bytes) -> bytes:
    at = data.index(name) - 4
    return data[at : at + int.from_bytes(data[at : at + 4], "big")]


def with_chunk_offset(m4a: bytes, offset: int) -> bytes:
    """The samples are said to lie at a 64-bit offset of the file."""
    stco = _box(m4a, b"stco")
    count = int.from_bytes(stco[12:16], "big")
    return _with_box(
        m4a, stco, struct.pack(">I4sII", 16 + 8 * count, b"co64", 0, count) + struct.pack(">Q", offset) * count
    )


def with_url_reference(m4a: bytes, place: str) -> bytes:
    """The samples are said to lie in the file at a URL."""
    url = place.encode() + b"\0"
    entry = struct.pack(">I4sI", 12 + len(url), b"url ", 0) + url
    return _with_box(m4a, _box(m4a, b"dref"), struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry)


def with_alias_reference(m4a: bytes, place: str) -> bytes:
    """The samples are said to lie in a file by QuickTime's alias record: volume, name, levels, path."""
    name = place.rpartition("/")[2].encode()[:63]
    record = bytes(10) + bytes([0]) + bytes(27) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    record += bytes(16) + struct.pack(">hh", 0, 0) + bytes(16)
    path = place.encode()
    record += struct.pack(">hh", 2, len(path)) + path + b"\0" * (len(path) % 2)
    record += struct.pack(">hh", -1, 0) + bytes(64)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    return _with_box(m4a, _box(m4a, b"dref"), struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry)


def reference_movie(place: str) -> bytes:
    """A QuickTime movie that is but a reference to another."""
    url = place.encode() + b"\0"
    rdrf = struct.pack(">I4sI4sI", 20 + len(url), b"rdrf", 0, b"url ", len(url)) + url
    rmda = struct.pack(">I4s", 8 + len(rdrf), b"rmda") + rdrf
    rmra = struct.pack(">I4s", 8 + len(rmda), b"rmra") + rmda
    return struct.pack(">I4s4sI", 16, b"ftyp", b"qt  ", 0) + struct.pack(">I4s", 8 + len(rmra), b"moov") + rmra


def with_id3_frames(mp3: bytes, place: str) -> bytes:
    """Frames that link to a picture, to a page and to frames of another file."""
    url = place.encode()
    frames = b"".join(
        name + struct.pack(">I", len(body)) + b"\0\0" + body
        for name, body in (
            (b"APIC", b"\0-->\0\3\0" + url),
            (b"LINK", b"APIC" + url + b"\0"),
            (b"WOAF", url),
            (b"WXXX", b"\0\0" + url),
        )
    )
    return b"ID3\3\0\0" + bytes((len(frames) >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frames + mp3


def with_flac_picture(flac: bytes, place: str) -> bytes:
    """A picture block whose picture is a URL."""
    url = place.encode()
    body = struct.pack(">II", 3, 3) + b"-->" + struct.pack(">I", 0) + struct.pack(">IIII", 0, 0, 0, 0)
    body += struct.pack(">I", len(url)) + url
    return flac[:42] + b"\x06" + len(body).to_bytes(3, "big") + body + flac[42:]


def in_asf_script(wma: bytes, place: str) -> bytes:
    """A script command object that sends players to a URL."""
    kind, url = "URL".encode("utf-16-le"), place.encode("utf-16-le")
    body = bytes(16) + struct.pack("<HH", 1, 1) + struct.pack("<H", 3) + kind
    body += struct.pack("<IHH", 0, 0, len(place)) + url
    guid = bytes.fromhex("301afb1e620bd011a39b00a0c90348f6")
    part = guid + struct.pack("<Q", 24 + len(body)) + body
    size, count = struct.unpack("<QI", wma[16:28])
    return wma[:16] + struct.pack("<QI", size + len(part), count + 1) + wma[28:30] + part + wma[30:]


def matroska(folder: Path, place: str) -> bytes:
    """A container that is not on the list, with a place in its tags."""
    path = folder / "reference.mka"
    with av.open(str(path), "w", format="matroska") as container:
        container.metadata["title"] = place
        stream = container.add_stream("flac", rate=16000, layout="mono")
        for start in range(0, 16000, 4000):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def references(folder: Path, place: str, *, host: str = "127.0.0.1", port: int = 9) -> dict[str, bytes]:
    """Every kind of file that leads to a place; most are no audio, some are sound with a reference beside it."""
    good = {
        codec: write(folder / f"good.{suffix}", glide(2.0, rate_hz=44100), rate_hz=44100, codec=codec).read_bytes()
        for codec, suffix in (("aac", "m4a"), ("mp3", "mp3"), ("flac", "flac"), ("wma", "wma"))
    }
    texts = {kind: text.format(place=place, host=host, port=port).encode() for kind, text in PLAYLISTS.items()}
    return texts | {
        "mp4-url-reference": with_url_reference(good["aac"], place),
        "mp4-alias-reference": with_alias_reference(good["aac"], place),
        "quicktime-reference-movie": reference_movie(place),
        "id3-links": with_id3_frames(good["mp3"], place),
        "flac-picture": with_flac_picture(good["flac"], place),
        "asf-script": in_asf_script(good["wma"], place),
        "matroska": matroska(folder, place),
    }


class OpenWatch:
    """Sees every opening of a file, by whatever process and means, through inotify."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init()
        in_access_or_open = 0x1 | 0x20
        assert libc.inotify_add_watch(self._fd, os.fsencode(path), in_access_or_open) >= 0

    def saw_any(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], 0.05)
        return bool(ready) and len(os.read(self._fd, 4096)) > 0

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A listener on loopback that nobody should call."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def was_called(listener: socket.socket) -> bool:
    """Whether somebody called, or calls within an instant."""
    ready, _, _ = select.select([listener], [], [], 0.05)
    return bool(ready)
