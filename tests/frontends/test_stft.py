"""The references are `librosa.stft` and `scipy.signal`, in double precision."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends import build_frontend
from catalog_tagger.frontends.framing import count_frames, cut_frames
from catalog_tagger.frontends.stft import (
    RESOLUTION_20_MS,
    RESOLUTION_40_MS,
    RESOLUTION_80_MS,
    STFT,
    THREE_RESOLUTIONS,
)

RATE_HZ = 16000


def noise(n_samples: int, *, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-0.5, 0.5, (batch, n_samples)).astype(np.float32))


def reference(signal: np.ndarray, *, window: int, hop: int, n_fft: int) -> np.ndarray:
    padded = np.pad(signal.astype(np.float64), (0, n_fft))  # librosa needs a signal as long as its transform
    values = librosa.stft(padded, n_fft=n_fft, win_length=window, hop_length=hop, center=True, pad_mode="constant")
    hann = np.hanning(window + 1)[:-1]
    return np.abs(values).T[: 1 + signal.size // hop] / hann.sum() * np.sqrt(window)


@pytest.mark.parametrize(("window_ms", "hop", "n_fft"), [(20, 160, 320), (40, 371, 1398), (80, 743, 1398), (1, 7, 16)])
def test_magnitudes_agree_with_librosa(window_ms: float, hop: int, n_fft: int) -> None:
    waveform = noise(9001)
    values = STFT(window_ms=window_ms, hop_samples=hop, n_fft=n_fft, compression=0.0)(waveform)[0].double().numpy()
    wanted = reference(waveform[0].numpy(), window=window_ms * 16, hop=hop, n_fft=n_fft)
    assert values.shape == wanted.shape
    np.testing.assert_allclose(values, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (RESOLUTION_20_MS, (431, 700)),
        (RESOLUTION_40_MS, (216, 700)),
        (RESOLUTION_80_MS, (108, 700)),
        (THREE_RESOLUTIONS, (3, 501, 369)),
    ],
)
def test_five_seconds_have_the_shapes_of_the_paper(spec: dict[str, object], shape: tuple[int, ...]) -> None:
    assert build_frontend(spec)(noise(5 * RATE_HZ)).shape == (1, *shape)


def test_150_ms_are_15_frames_of_three_resolutions() -> None:
    assert build_frontend(THREE_RESOLUTIONS)(noise(14 * 160 + 1)).shape == (1, 3, 15, 369)


def test_maps_are_the_single_resolutions_frame_by_frame() -> None:
    waveform = noise(4000, batch=2)
    stacked = STFT(window_ms=[20.0, 80.0], n_bins=300)(waveform)
    for number, window_ms in enumerate((20.0, 80.0)):
        alone = STFT(window_ms=window_ms, n_fft=1280, n_bins=300)(waveform)
        torch.testing.assert_close(stacked[:, number], alone, atol=0.0, rtol=0.0)


def test_the_output_is_the_logarithm_of_the_magnitudes() -> None:
    waveform = noise(4000)
    wanted = torch.log2(1.0 + 1e4 * STFT(compression=0.0)(waveform).double()).float()
    torch.testing.assert_close(STFT()(waveform), wanted, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("window_ms", [20.0, 40.0, 80.0])
def test_a_tone_peaks_in_its_bin_at_half_the_root_of_the_window(window_ms: float) -> None:
    tone = torch.sin(2 * torch.pi * 1000.0 * torch.arange(8000) / RATE_HZ)[None]
    values = STFT(window_ms=window_ms, n_fft=1280, compression=0.0)(tone)[0, 10:-10]
    assert (values.argmax(dim=1) == 80).all()  # bins are 12.5 Hz apart
    np.testing.assert_allclose(values[:, 80], 0.5 * np.sqrt(window_ms * 16), rtol=1e-4)


def test_noise_is_as_high_in_every_resolution() -> None:
    maps = STFT(window_ms=[20.0, 40.0, 80.0], compression=0.0)(noise(80000))[0]
    root_mean_square = maps.square().mean(dim=(1, 2)).sqrt()
    np.testing.assert_allclose(root_mean_square / root_mean_square[0], 1.0, atol=0.02)


@given(
    n_samples=st.integers(0, 3000),
    batch=st.integers(0, 3),
    hop=st.integers(1, 700),
    window_ms=st.lists(st.floats(0.1, 30.0), min_size=1, max_size=3),
)
@settings(max_examples=30, deadline=None)
def test_any_length_and_batch_has_its_shape(n_samples: int, batch: int, hop: int, window_ms: list[float]) -> None:
    stft = STFT(window_ms=window_ms, hop_samples=hop)
    out = stft(noise(n_samples, batch=batch).double())
    assert out.shape == (batch, len(window_ms), 1 + n_samples // hop, stft.n_bins)
    assert out.shape[2] == stft.n_frames(n_samples)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


@given(
    n_samples=st.integers(0, 400),
    window=st.integers(1, 90),
    hop=st.integers(1, 60),
    padding=st.sampled_from(["zeros", "reflect", "none"]),
)
@settings(max_examples=60, deadline=None)
def test_frames_are_the_samples_around_their_centres(n_samples: int, window: int, hop: int, padding: str) -> None:
    signal = np.arange(1.0, n_samples + 1.0, dtype=np.float32)
    frames = cut_frames(
        torch.from_numpy(signal)[None],
        window_samples=window,
        hop_samples=hop,
        padding=padding,  # type: ignore[arg-type]
    )[0].numpy()
    before = 0 if padding == "none" else window // 2
    reach = len(frames) * hop + 2 * window
    beyond = (len(frames) - 1) * hop + window - before - n_samples
    mirrored = padding == "reflect" and n_samples > max(before, beyond)
    padded = np.pad(signal, (before, reach), mode="reflect" if mirrored else "constant")
    if padding == "none":
        assert len(frames) == sum(start + window <= n_samples for start in range(0, n_samples + 1, hop))
    else:
        assert len(frames) == 1 + n_samples // hop
    assert len(frames) == count_frames(n_samples, window_samples=window, hop_samples=hop, padding=padding)  # type: ignore[arg-type]
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, padded[number * hop : number * hop + window])


def test_an_item_does_not_depend_on_its_neighbours() -> None:
    waveform = noise(5000, batch=3)
    others = torch.full_like(waveform, torch.nan)
    others[1] = waveform[1]
    stft = build_frontend(THREE_RESOLUTIONS)
    torch.testing.assert_close(stft(others)[1], stft(waveform)[1], atol=0.0, rtol=0.0)


@pytest.mark.parametrize("name", ["stft", "mel", "mfcc", "chroma", "chroma_mfcc"])
def test_nothing_to_train_and_nothing_to_save(name: str) -> None:
    frontend = build_frontend({"name": name})
    assert list(frontend.parameters()) == []
    assert frontend.state_dict() == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["stft", "mel", "mfcc", "chroma", "chroma_mfcc"])
def test_cuda_agrees_with_the_cpu(name: str) -> None:
    frontend, waveform = build_frontend({"name": name}), noise(16000, batch=2)
    wanted = frontend(waveform)
    values = frontend.to("cuda")(waveform.to("cuda"))
    assert values.device.type == "cuda"
    torch.testing.assert_close(values.cpu(), wanted, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"window_ms": 0.0}, "window_ms must be positive, not 0.0"),
        ({"window_ms": []}, "at least one window"),
        ({"window_ms": [20.0, -1.0]}, "window_ms must be positive, not -1.0"),
        ({"hop_samples": 0}, "hop_samples must be positive, not 0"),
        ({"n_fft": 319}, "n_fft 319 must be at least the longest window, 320 samples"),
        ({"n_bins": 162}, "n_bins 162 must lie between 1 and 161"),
        ({"n_bins": 0}, "n_bins 0 must lie between 1 and 161"),
        ({"compression": -1.0}, "must not be negative, but is -1.0"),
    ],
)
def test_parameters_that_cannot_work_are_refused(parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_frontend({"name": "stft", **parameters})


@pytest.mark.parametrize("name", ["stft", "mel", "mfcc", "chroma", "chroma_mfcc"])
@pytest.mark.parametrize("shape", [(), (8000,), (1, 2, 8000)])
def test_a_waveform_of_another_shape_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected \(batch, samples\), got shape"):
        build_frontend({"name": name})(torch.zeros(shape))
