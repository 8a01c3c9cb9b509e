"""What several tests share: a model that hears nothing, small catalogues, an S3 server, one local Ray.

Tests that use the Ray of their own process carry the mark ``xdist_group("ray")``, so that one worker does them
one after the other; those that start jobs in processes of their own, and take long, ``xdist_group("ray_commands")``.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from audio_files import glide, suffix_of, tone, write
from servers import S3Server, moto_server, rclone_server

from catalog_tagger.audio import SEGMENT_SAMPLES
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import build_model
from catalog_tagger.models.bundle import save_bundle
from catalog_tagger.models.calibration import Calibration

# two test processes and Ray's share two cores: threads that wait for each other there are many times slower
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: the repository
ROOT = Path(__file__).parents[1]

#: relative name -> (codec, seconds) of the tracks that can be tagged in `catalogue`
TRACKS = {
    "a.mp3": ("mp3", 12.0),
    "b/c.flac": ("flac", 5.0),
    "b/d, e.m4a": ("aac", 7.0),
    "Ünïcode/señal.opus": ("opus", 5.2),
    "UPPER.WAV": ("wav", 0.1),
    "z.wma": ("wma", 6.0),
}
#: relative name -> (bytes, the code it is quarantined with)
BROKEN = {
    "broken/empty.mp3": (b"", "empty"),
    "broken/page.mp3": (b"<!DOCTYPE html><title>404</title>" * 40, "not_audio"),
}


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The labelled recordings; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("CATALOG_TAGGER_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no labelled recordings in {folder}; set CATALOG_TAGGER_DATA")
    return folder


def some_sounds() -> torch.Tensor:
    """24 segments: noise of several levels, as the generator gives it now, then a tone that glides."""
    noise = torch.cumsum(torch.randn(16, SEGMENT_SAMPLES), dim=1) * torch.linspace(0.01, 1, 16)[:, None]
    return torch.cat([noise / 1000, torch.from_numpy(glide(40.0, rate_hz=16000)).float().reshape(8, -1)])


def put_untrained(folder: Path, *, labels: list[str], seed: int = 0, **values: Any) -> str:
    """A tiny untrained bundle: what it hears means nothing, but differs from track to track, the same every time."""
    spec = values.pop("frontend", {"name": "cqt"})
    of_all = {"n_labels": len(labels), "channels": [4, 4, 8, 8], "hidden": 8}
    architecture = {**of_all, "name": values.pop("network", "residual_cnn")}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(architecture)
        sounds = some_sounds()
    with torch.no_grad():
        features = build_frontend(spec)(sounds)
        model.train()
        for _ in range(30):  # its normalisation needs to have met some sound
            model(features)
        logits = model.eval()(features)
    scale, middle = 2.0 / logits.std(dim=0), logits[16:].mean(dim=0)
    save_bundle(
        folder,
        name=folder.name,
        labels=labels,
        architecture=architecture,
        frontend=spec,
        model=model,
        calibration=Calibration(scale=tuple(scale.tolist()), offset=tuple((-scale * middle).tolist())),
        card={},
        **values,
    )
    return str(folder)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that answers for speech and music."""
    # not in the order of the tables: columns go by label
    return put_untrained(tmp_path_factory.mktemp("bundles") / "untrained", labels=["music", "speech"])


@pytest.fixture(scope="session")
def bundles(bundle: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """One of each task: speech and music, voices, tags."""
    folder = tmp_path_factory.mktemp("more_bundles")
    voices = put_untrained(
        folder / "voices", labels=["voice", "female"], seed=1, task="voice_gender", decision={"abstain_below": 0.55}
    )
    labels = ["dog", "flute", "rain"]
    return bundle, voices, put_untrained(folder / "tagger", labels=labels, seed=2, network="vgg_tagger", task="tags")


def write_catalogue(folder: Path) -> Path:
    """`TRACKS` and `BROKEN` as files below a folder."""
    for i, (name, (codec, length_s)) in enumerate(TRACKS.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rate_hz = 48000 if codec == "opus" else 22050
        signal = 0.6 * glide(length_s, rate_hz=rate_hz) + tone(length_s, rate_hz=rate_hz, hz=150.0 * 2**i, level=0.3)
        write(path.with_name(f"new{suffix_of(codec)}"), signal, rate_hz=rate_hz, codec=codec).replace(path)
    for name, (data, _) in BROKEN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "cover.jpg").write_bytes(b"not a track")
    return folder


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `TRACKS` and `BROKEN`; not to be changed."""
    return write_catalogue(tmp_path_factory.mktemp("catalogue") / "audio")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray of two logical CPUs that the job finds and uses."""
    import ray

    from catalog_tagger.tagging import cluster  # noqa: F401 - its settings must precede Ray's start

    ray.init(
        address="local",  # never one that somebody else started
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=300_000_000,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Server]]:
    """Starts a server of a kind when it is first asked for."""
    servers: dict[str, S3Server] = {}
    with ExitStack() as running:

        def server(kind: str) -> S3Server:
            if kind not in servers:
                context = rclone_server(tmp_path_factory.mktemp("s3")) if kind == "rclone" else moto_server()
                servers[kind] = running.enter_context(context)
            return servers[kind]

        yield server


@pytest.fixture(params=["rclone", "moto"])
def s3(
    request: pytest.FixtureRequest, s3_servers: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Server]:
    """An S3 server with a bucket, and its credentials in this process's environment."""
    import s3fs

    server = s3_servers(request.param)
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    for key, value in server.environment().items():
        monkeypatch.setenv(key, value)
    s3fs.S3FileSystem.clear_instance_cache()  # clients keep the environment they were made in
    server.make_bucket()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()
