"""An object as a seekable file: the same bytes as a file of one's own, by few requests, in little memory."""

import io
import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
from audio_files import wav_bytes
from fault_proxy import FaultProxy, proxied
from servers import BUCKET, S3Server

from catalog_tagger import ranged as ranged_module
from catalog_tagger.errors import StorageError
from catalog_tagger.ranged import RangedFile
from catalog_tagger.storage import Store
from catalog_tagger.tagging.decoding import Look, Windows, decode
from catalog_tagger.tagging.encoded import Encoded

DATA = os.urandom(10_000)
PART = 1_000


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    s3.put("ranged/a", DATA)
    with proxied(s3, monkeypatch) as running:
        yield running


def ranged(*, offset: int = 0, size_bytes: int | None = None, name: str = "a", sparse: bool = False) -> RangedFile:
    store = Store(f"s3://{BUCKET}/ranged")
    return RangedFile(store.fs, store.path(name), offset=offset, size_bytes=size_bytes, part_bytes=PART, sparse=sparse)


@pytest.mark.parametrize("offset", [0, 999, 1_000, 9_999, 10_000, 12_000])
def test_it_behaves_as_a_file_of_those_bytes(proxy: FaultProxy, offset: int) -> None:
    draw = random.Random(offset)
    for size in (None, 0, 1, PART - 1, PART, PART + 1, 7_777, 20_000):
        expected = io.BytesIO(DATA[offset:] if size is None else DATA[offset : offset + size])
        with ranged(offset=offset, size_bytes=size) as file:
            assert (file.readable(), file.seekable(), file.writable(), file.tell()) == (True, True, False, 0)
            for _ in range(8):
                whence = draw.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
                to = draw.randrange(0, 11_000) if whence == os.SEEK_SET else draw.randrange(0, 500)
                assert file.seek(to, whence) == expected.seek(to, whence)
                count = draw.randrange(0, 3_500)
                assert file.read(count) == expected.read(count)
            file.seek(0)
            assert file.read() == expected.getvalue()
            assert file.failure is None


def test_from_front_to_back_every_part_is_asked_for_once(proxy: FaultProxy) -> None:
    with ranged() as file:
        assert b"".join(iter(lambda: file.read(333), b"")) == DATA
    assert proxy.requests.total() == len(DATA) // PART
    assert proxy.sent.total() == len(DATA)


def test_a_look_at_a_header_fetches_no_more(proxy: FaultProxy) -> None:
    with ranged() as file:
        for at in (0, 5_000, 100, 8_000, 5_100):
            file.seek(at)
            assert file.read(100) == DATA[at : at + 100]
    assert proxy.requests.total() == 3 + 1, "three parts, and the one that follows the first"


@pytest.fixture
def sparse_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(ranged_module, "SPARSE_PART_BYTES", 100)
    return 100


def test_a_few_places_of_a_sparse_file_fetch_little_more_than_themselves(proxy: FaultProxy, sparse_parts: int) -> None:
    with ranged(sparse=True) as file:
        for at in (0, 5_000, 100, 8_050, 5_050):
            file.seek(at)
            assert file.read(60) == DATA[at : at + 60]
    assert proxy.requests.total() == 5 + 1, "the last two places lie across a border, and half of one is there already"
    assert proxy.sent.total() == 6 * sparse_parts


def test_a_sparse_file_that_is_read_on_is_like_any_other(proxy: FaultProxy, sparse_parts: int) -> None:
    with ranged(sparse=True) as file:
        assert b"".join(iter(lambda: file.read(333), b"")) == DATA
    assert proxy.requests.total() <= 8 + len(DATA) // PART


def test_a_look_at_a_large_track_spares_most_of_it(
    s3: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranged_module, "SPARSE_PART_BYTES", 50_000)
    encoded = wav_bytes(np.random.default_rng(0).integers(-999, 999, 130 * 16000).astype(np.int16))
    uri = s3.put("ranged/long.wav", encoded)
    proxy.forget()
    _, windows, end = decode(Encoded(uri=uri), max_duration_s=1e9, look=Look(depth="auto"))
    assert isinstance(windows, Windows)
    assert end is None
    assert 0.8e6 < proxy.sent.total() < 0.4 * len(encoded), "five windows of 160 kB are in it"


def test_few_parts_lie_in_memory(proxy: FaultProxy) -> None:
    with ranged() as file:
        most = 0
        while file.read(500):
            most = max(most, sum(map(len, file._parts.values())))
        assert most <= 6 * PART


def test_an_error_is_raised_and_stays_known(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with ranged() as file:
        file.read(10)
        proxy.rule = lambda request: "500" if request.first == 3 * PART else None
        with pytest.raises(StorageError, match="s3://catalogue/ranged/a: the object store failed 2 times") as caught:
            file.read()
        assert file.failure is caught.value


def test_a_part_of_another_version_is_refused_also_where_the_store_ignores_the_condition(proxy: FaultProxy) -> None:
    with ranged() as file:
        file._etag = "0" * 32
        file.seek(5 * PART)
        with pytest.raises(StorageError, match="s3://catalogue/ranged/a: changed since it was listed or first read"):
            file.read(1)


def test_an_object_that_shrinks_is_refused_also_where_the_store_has_no_etags(s3: S3Server, proxy: FaultProxy) -> None:
    with ranged() as file:
        file._etag = ""
        assert file.read(10) == DATA[:10]
        s3.put("ranged/a", DATA[: 3 * PART + 7])
        with pytest.raises(StorageError, match="s3://catalogue/ranged/a: changed since it was listed or") as caught:
            file.read()
        assert file.failure is caught.value


def test_a_missing_object_is_said_when_it_is_opened(proxy: FaultProxy) -> None:
    with pytest.raises(FileNotFoundError):
        ranged(name="nowhere")


def test_decoders_know_it_by_its_uri(proxy: FaultProxy) -> None:
    uri = f"s3://{BUCKET}/ranged/a"
    assert Encoded(uri=uri).open().read() == DATA
    assert Encoded(uri=uri, offset=10, size_bytes=90).open().read() == DATA[10:100]
    proxy.rule = lambda _: "403"
    with pytest.raises(StorageError, match="access denied") as caught:
        Encoded(uri=uri).open()
    assert caught.value.systemic


def test_decoders_of_local_files_do_not_load_the_client() -> None:
    import subprocess
    import sys

    code = (
        "import sys, catalog_tagger.tagging.encoded; print(sorted({'s3fs', 'botocore', 'fsspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
