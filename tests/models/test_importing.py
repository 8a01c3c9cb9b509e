"""Published checkpoints: their names and shapes, what comes out, and what is refused."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from catalog_tagger.cli.main import main
from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.models import panns, vggish
from catalog_tagger.models.bundle import load_bundle
from catalog_tagger.models.importing import import_bundle, read_labels, read_tensors

MAPS = [1, 64, 128, 256, 512, 1024, 2048]


def norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.{part}": (size,) for part in ("weight", "bias")}
    shapes |= {f"{name}.{part}": (size,) for part in ("running_mean", "running_var")}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def published_cnn14() -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``Cnn14_16k_mAP=0.438.pth``."""
    shapes: dict[str, tuple[int, ...]] = {
        "spectrogram_extractor.stft.conv_real.weight": (257, 1, 512),
        "spectrogram_extractor.stft.conv_imag.weight": (257, 1, 512),
        "logmel_extractor.melW": (257, 64),
        **norm("bn0", 64),
    }
    for block in range(1, 7):
        inputs, outputs = MAPS[block - 1], MAPS[block]
        shapes[f"conv_block{block}.conv1.weight"] = (outputs, inputs, 3, 3)
        shapes[f"conv_block{block}.conv2.weight"] = (outputs, outputs, 3, 3)
        shapes |= norm(f"conv_block{block}.bn1", outputs) | norm(f"conv_block{block}.bn2", outputs)
    shapes |= {"fc1.weight": (2048, 2048), "fc1.bias": (2048,)}
    return shapes | {"fc_audioset.weight": (527, 2048), "fc_audioset.bias": (527,)}


def published_vggish() -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``vggish-10086976.pth``."""
    shapes: dict[str, tuple[int, ...]] = {}
    for place, inputs, outputs in (
        (0, 1, 64),
        (3, 64, 128),
        (6, 128, 256),
        (8, 256, 256),
        (11, 256, 512),
        (13, 512, 512),
    ):
        shapes[f"features.{place}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"features.{place}.bias"] = (outputs,)
    for place, inputs, outputs in ((0, 12288, 4096), (2, 4096, 4096), (4, 4096, 128)):
        shapes[f"embeddings.{place}.weight"] = (outputs, inputs)
        shapes[f"embeddings.{place}.bias"] = (outputs,)
    return shapes


def generated(shapes: dict[str, tuple[int, ...]], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors, scaled so that signals neither vanish nor explode on their way."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
        elif name.endswith(("running_var", "bn1.weight", "bn2.weight", "bn0.weight")):
            state[name] = torch.ones(shape)
        else:
            fan = int(np.prod(shape[1:])) if len(shape) > 1 else 100
            size = int(np.prod(shape))
            # repeated after a prime number of values: 80 million normal draws would take seconds
            drawn = torch.randn(min(size, 65_537), generator=generator) * (2.0 / fan) ** 0.5
            state[name] = drawn.repeat(-(-size // len(drawn)))[:size].view(shape)
    return state


def torchlibrosa_buffers() -> dict[str, torch.Tensor]:
    """Fourier matrices with their window, and librosa's filters, as the published file holds them."""
    import librosa

    turn = np.exp(-2j * np.pi / 512) ** np.outer(np.arange(257), np.arange(512))
    windowed = torch.from_numpy(turn * librosa.filters.get_window("hann", 512, fftbins=True))
    return {
        "spectrogram_extractor.stft.conv_real.weight": windowed.real.float()[:, None].clone(),
        "spectrogram_extractor.stft.conv_imag.weight": windowed.imag.float()[:, None].clone(),
        "logmel_extractor.melW": torch.from_numpy(
            librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=50, fmax=8000).T
        ).float(),
    }


def write_labels(path: Path, count: int = 527) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "mid", "display_name"])
        writer.writerows([index, f"/m/{index}", f"Class, {index}"] for index in range(count))
    return path


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose large files do not outlive the tests."""
    folder = tmp_path_factory.mktemp("checkpoints")
    yield folder
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.fixture(scope="module")
def cnn14_state() -> dict[str, torch.Tensor]:
    return generated(published_cnn14()) | torchlibrosa_buffers()


def test_network_has_the_names_and_shapes_of_the_published_cnn14() -> None:
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in panns.Cnn14().state_dict().items()}
    theirs = {name: shape for name, shape in published_cnn14().items() if "_extractor" not in name}
    assert own == theirs


def test_network_has_the_names_and_shapes_of_the_published_vggish() -> None:
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in vggish.VGGish().state_dict().items()}
    assert own == published_vggish()


def test_imported_cnn14_answers_what_its_publication_says(cnn14_state: dict[str, torch.Tensor], room: Path) -> None:
    torch.save({"iteration": 1, "model": cnn14_state}, room / "Cnn14_16k.pth")
    labels = write_labels(room / "class_labels_indices.csv")
    import_bundle(room / "Cnn14_16k.pth", room / "cnn14", kind="panns_cnn14_16k", labels=labels)
    bundle = load_bundle(room / "cnn14")
    assert (bundle.task, len(bundle.labels), bundle.labels[526]) == ("tags", 527, "Class, 526")
    assert "no calibration was fitted" in " ".join(bundle.card["limits"])

    waveform = torch.randn(1, 16000, generator=torch.Generator().manual_seed(3)) * 0.1
    features = bundle.frontend(waveform)
    probabilities, embedding = bundle.outputs(features)
    spectrum = torch.stft(waveform, 512, 160, window=torch.hann_window(512), pad_mode="reflect", return_complex=True)
    mel = spectrum.abs().square().transpose(1, 2) @ cnn14_state["logmel_extractor.melW"]
    logmel = 10 * torch.log10(mel.clamp_min(1e-10))
    torch.testing.assert_close(features, logmel, atol=2e-3, rtol=1e-4)

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = (cnn14_state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts)

    x = normal(logmel[:, None].transpose(1, 3), "bn0").transpose(1, 3)
    for block in range(1, 7):
        for part in (1, 2):
            x = functional.conv2d(x, cnn14_state[f"conv_block{block}.conv{part}.weight"], padding=1)
            x = normal(x, f"conv_block{block}.bn{part}").relu()
        x = functional.avg_pool2d(x, 2) if block < 6 else x
    x = x.mean(dim=3)
    x = (x.amax(dim=2) + x.mean(dim=2)) @ cnn14_state["fc1.weight"].T + cnn14_state["fc1.bias"]
    expected = x.relu() @ cnn14_state["fc_audioset.weight"].T + cnn14_state["fc_audioset.bias"]
    assert embedding is not None
    torch.testing.assert_close(embedding, x.relu(), atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(probabilities, expected.sigmoid(), atol=2e-3, rtol=1e-2)


def test_imported_vggish_embeds_with_and_without_its_components(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = generated(published_vggish())
    save_file(state, room / "vggish.safetensors")
    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((128, 128)))[0]
    means = np.full(128, 0.1)
    np.savez(room / "pca.npz", pca_eigen_vectors=vectors, pca_means=means)
    torch.save({"pca_eigen_vectors": vectors, "pca_means": means}, room / "pca.pth")
    import_bundle(room / "vggish.safetensors", room / "vggish", kind="vggish", pca=room / "pca.npz")
    bundle = load_bundle(room / "vggish")
    features = bundle.frontend(torch.randn(2, 40000, generator=torch.Generator().manual_seed(3)) * 0.1)
    assert features.shape == (2, 248, 64)
    probabilities, embedding = bundle.outputs(features)
    assert probabilities.shape == (2, 0)
    assert embedding is not None

    def patch(number: int) -> torch.Tensor:
        x = features[:, None, 96 * number : 96 * (number + 1)]
        for place in (0, 3, 6, 8, 11, 13):
            x = functional.conv2d(
                x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1
            ).relu()
            x = functional.max_pool2d(x, 2) if place in (0, 3, 8, 13) else x
        x = x.transpose(1, 3).transpose(1, 2).reshape(2, -1)
        for place in (0, 2, 4):
            x = (x @ state[f"embeddings.{place}.weight"].T + state[f"embeddings.{place}.bias"]).relu()
        white = (torch.from_numpy(vectors).float() @ (x.T - torch.from_numpy(means).float()[:, None])).T
        return ((white.clamp(-2, 2) + 2) * 255 / 4).round()

    # a value on the edge of two steps may fall on either side
    torch.testing.assert_close(embedding, (patch(0) + patch(1)) / 2, atol=1.0, rtol=0)
    from_torch = {name: value.double() for name, value in read_tensors(room / "pca.pth").items()}
    torch.testing.assert_close(from_torch["pca_eigen_vectors"], torch.from_numpy(vectors))
    command = ["bundles", "import", str(room / "vggish.safetensors"), "--kind", "vggish", "--out", str(room / "vggish")]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    assert "in the place of the bundle that was there" in capsys.readouterr().out
    assert load_bundle(room / "vggish").fingerprint != bundle.fingerprint


def test_front_ends_are_those_of_the_publications() -> None:
    second = torch.zeros(1, 16000)
    assert build_frontend(panns.FRONTEND)(second).shape == (1, 101, 64)
    assert float(build_frontend(panns.FRONTEND)(second).max()) == pytest.approx(-100.0)
    assert build_frontend(vggish.FRONTEND)(second).shape == (1, 98, 64)
    assert float(build_frontend(vggish.FRONTEND)(second).max()) == pytest.approx(np.log(0.01))


class _Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_file_is_refused_and_does_not_run(tmp_path: Path, legacy: bool) -> None:
    canary = tmp_path / "canary"
    torch.save({"model": _Hostile(canary)}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UsageError, match="not a file of tensors alone"):
        import_bundle(tmp_path / "a.pth", tmp_path / "out", kind="panns_cnn14_16k")
    assert not canary.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a"),
        (b"hello", "not a"),
        (b"\x00" * 8 + b"{" + b"x" * 50, "is not a checkpoint"),
        (b"PK\x03\x04 and no archive", "is not a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_one_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_half_a_download_is_one_clear_error(tmp_path: Path, kept: float) -> None:
    for legacy in (False, True):
        torch.save({"a": torch.zeros(30)}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        whole = (tmp_path / "a.pth").read_bytes()
        (tmp_path / "a.pth").write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(UsageError, match=r"a\.pth: is not a checkpoint"):
            read_tensors(tmp_path / "a.pth")


def test_components_that_are_no_arrays_are_one_clear_error(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "a.pth")
    np.savez(tmp_path / "whole.npz", pca_means=np.zeros(128))
    np.savez(tmp_path / "text.npz", pca_means=np.array(["a"]))
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:400])
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(128))
    for name in ("text", "half", "one"):
        with pytest.raises(UsageError, match=rf"{name}\.npz: cannot be read as arrays"):
            import_bundle(tmp_path / "a.pth", tmp_path / "out", kind="vggish", pca=tmp_path / f"{name}.npz")


def test_labels_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("index,mid,display_name\n0,/m/1,Speech\n1,/m/2,Müsic\n", encoding="utf-8-sig")
    assert read_labels(tmp_path / "labels.csv", 2) == ["Speech", "Müsic"]


def test_values_that_are_no_numbers_are_named_with_their_file(tmp_path: Path) -> None:
    with torch.device("cpu"):
        state = vggish.VGGish(whiten=False).state_dict()
    name = next(iter(state))
    state[name].view(-1)[3] = float("nan")
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=rf"a\.safetensors: .*{name} holds values that are no numbers"):
        import_bundle(tmp_path / "a.safetensors", tmp_path / "out", kind="vggish")


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.pth: cannot be read"):
        read_tensors(tmp_path / "none.pth")


def test_a_checkpoint_of_another_kind_names_what_does_not_fit(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"not a checkpoint of panns_cnn14_16k: .*is missing.* more"):
        import_bundle(tmp_path / "a.pth", tmp_path / "out", kind="panns_cnn14_16k")


@pytest.mark.parametrize("name", sorted(torchlibrosa_buffers()))
def test_a_front_end_of_another_rate_is_refused(tmp_path: Path, name: str) -> None:
    buffers = torchlibrosa_buffers()
    buffers[name] = buffers[name].roll(1, dims=0)
    torch.save({"model": buffers}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=f"{name}.*another rate"):
        import_bundle(tmp_path / "a.pth", tmp_path / "out", kind="panns_cnn14_16k")


def test_labels_must_be_those_of_the_checkpoint(cnn14_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    few = write_labels(tmp_path / "few.csv", count=10)
    small = {name: value.contiguous() for name, value in cnn14_state.items() if value.ndim < 2}
    save_file(small, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"few\.csv: names 10 classes; the checkpoint has 527"):
        import_bundle(tmp_path / "a.safetensors", tmp_path / "out", kind="panns_cnn14_16k", labels=few)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "vggish", "--labels", "x.csv"], "VGGish has no classes"),
        (["--kind", "panns_cnn14_16k", "--pca", "x.npz"], "only VGGish has principal components"),
        (["--kind", "vggish"], "cannot be read"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bundles", "import", str(tmp_path / "none.pth"), "--out", str(tmp_path / "out"), *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
