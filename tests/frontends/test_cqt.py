"""The reference is `librosa.cqt` with sparsity=0 in double precision; the scale of every tolerance is
what a tone of the segment's peak amplitude gives in the bin, as the class's notes explain."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.audio import pcm_to_float, read_pcm
from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.cqt import CQT

RATE_HZ, N = 16000, 80000
FLOAT32_TOLERANCE, BFLOAT16_TOLERANCE = 1e-4, 5e-3
DATA = Path(os.environ.get("CATALOG_TAGGER_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))

pytestmark = pytest.mark.filterwarnings("ignore:n_fft=.* is too large")  # librosa pads short signals, as it should

Signal = npt.NDArray[np.float32]
MAGNITUDES = CQT(compression=0.0)


def reference(signal: Signal, cqt: CQT, *, rate_hz: int = RATE_HZ, f_min_hz: float = 80.0) -> npt.NDArray[np.float64]:
    values = librosa.cqt(
        signal.astype(np.float64),
        sr=rate_hz,
        hop_length=cqt.hop_samples,
        fmin=f_min_hz,
        n_bins=cqt.n_bins,
        bins_per_octave=cqt.bins_per_octave,
        sparsity=0,
        dtype=np.complex128,
    )
    return np.abs(values).T


def tone_response(cqt: CQT, *, rate_hz: int = RATE_HZ, f_min_hz: float = 80.0) -> npt.NDArray[np.float64]:
    """What a tone of amplitude 1 gives in each bin: half the square root of the kernel's length."""
    b = cqt.bins_per_octave
    alpha = (2.0 ** (2.0 / b) - 1.0) / (2.0 ** (2.0 / b) + 1.0)
    return 0.5 * np.sqrt(rate_hz / (alpha * f_min_hz * 2.0 ** (np.arange(cqt.n_bins) / b)))


def apply(cqt: CQT, signal: Signal) -> npt.NDArray[np.float64]:
    return cqt(torch.from_numpy(signal)[None])[0].double().numpy()


def error_per_bin(
    values: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], peak: float
) -> npt.NDArray[np.float64]:
    assert values.shape == wanted.shape
    return np.abs(values - wanted).max(axis=0) / (tone_response(MAGNITUDES) * max(peak, 1e-30))


def tone(hz: float, *, amplitude: float = 0.5) -> Signal:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(N) / RATE_HZ + 0.3)).astype(np.float32)


def bin_hz(number: float) -> float:
    return 80.0 * 2.0 ** (number / 24.0)


def synthetic() -> dict[str, Signal]:
    rng = np.random.default_rng(0)
    t = np.arange(N) / RATE_HZ
    clicks, step, burst = np.zeros((3, N), dtype=np.float32)
    clicks[[0, 100, 371 * 50, 40001, N - 1]] = 1.0
    step[30000:60000] = 0.8
    burst[40000:45000] = rng.uniform(-0.5, 0.5, 5000)
    growth = math.log(400.0)
    signals = {
        "noise": 0.3 * rng.standard_normal(N),
        "quiet noise": 1e-5 * rng.standard_normal(N),
        "sweep 20 Hz to 8 kHz": 0.5 * np.sin(2 * np.pi * 100.0 / growth * (np.exp(t / 5.0 * growth) - 1.0)),
        "clicks": clicks,
        "step": step,
        "burst": burst,
        "constant": np.full(N, 0.5),
        "square 100 Hz": 0.5 * np.sign(np.sin(2 * np.pi * 100.0 * t)),
        "loud beside quiet": tone(200.0) + tone(2000.0, amplitude=1e-3),
        "silence": np.zeros(N),
    }
    # centres of the lowest, the highest and each octave's outer bins; then halfway; then out of the range
    centres = [0, 1, 23, 24, 47, 48, 71, 72, 95, 96, 119, 120, 143]
    signals |= {f"bin {number}": tone(bin_hz(number)) for number in (*centres, 0.5, 47.5, 119.5, 120.3, 142.5)}
    signals |= {f"{hz} Hz": tone(hz) for hz in (10, 30, 5200, 5500, 6000, 7000, 7900)}
    return {name: np.asarray(signal, dtype=np.float32) for name, signal in signals.items()}


SYNTHETIC = synthetic()


@pytest.mark.parametrize("name", SYNTHETIC)
def test_agrees_with_librosa_in_every_bin_on_synthetic_signals(name: str) -> None:
    signal = SYNTHETIC[name]
    error = error_per_bin(apply(MAGNITUDES, signal), reference(signal, MAGNITUDES), np.abs(signal).max())
    assert error.max() < FLOAT32_TOLERANCE, f"bin {error.argmax()} is off by {error.max():.1e}"


@pytest.mark.data
@pytest.mark.parametrize("role", ["music", "speech", "noise"])
def test_agrees_with_librosa_in_every_bin_on_recordings(role: str) -> None:
    if not (DATA / "manifest.csv").is_file():
        pytest.skip(f"no labelled recordings in {DATA}")
    with (DATA / "manifest.csv").open(encoding="utf-8", newline="") as file:
        clips = [DATA / row["path"] for row in csv.DictReader(file) if row["role"] == role]
    for clip in clips[:: len(clips) // 12]:
        signal = pcm_to_float(read_pcm(clip)[:N])
        wanted = reference(signal, MAGNITUDES)
        values = apply(MAGNITUDES, signal)
        error = error_per_bin(values, wanted, np.abs(signal).max())
        assert error.max() < FLOAT32_TOLERANCE, f"{clip.name}, bin {error.argmax()}: {error.max():.1e}"
        in_bfloat16 = apply(CQT(compression=0.0, dtype=torch.bfloat16), signal)
        assert error_per_bin(in_bfloat16, wanted, np.abs(signal).max()).max() < BFLOAT16_TOLERANCE, clip.name


@pytest.mark.parametrize(
    "name", ["noise", "sweep 20 Hz to 8 kHz", "bin 0", "bin 119.5", "step", "square 100 Hz", "silence"]
)
def test_bfloat16_keeps_its_own_tolerance(name: str) -> None:
    signal = SYNTHETIC[name]
    values = CQT(compression=0.0, dtype=torch.bfloat16)(torch.from_numpy(signal)[None])
    assert values.dtype == torch.float32
    error = error_per_bin(values[0].double().numpy(), reference(signal, MAGNITUDES), np.abs(signal).max())
    assert error.max() < BFLOAT16_TOLERANCE


@given(
    hz=st.lists(st.floats(1.0, 7999.0), min_size=1, max_size=4),
    n_samples=st.integers(2000, N),
    gain=st.floats(1e-4, 1.0),
)
@settings(max_examples=25, deadline=None)
def test_agrees_with_librosa_on_any_mixture_of_tones(hz: list[float], n_samples: int, gain: float) -> None:
    signal = (gain * sum(tone(one) for one in hz) / len(hz))[:n_samples].astype(np.float32)
    error = error_per_bin(apply(MAGNITUDES, signal), reference(signal, MAGNITUDES), gain)
    assert error.max() < FLOAT32_TOLERANCE


@pytest.mark.parametrize(
    ("rate_hz", "f_min_hz", "bins_per_octave", "n_octaves", "hop_samples"),
    [
        (16000, 80.0, 24, 1, 371),
        (16000, 32.703, 12, 7, 501),
        (22050, 55.0, 36, 6, 511),
        (44100, 110.0, 12, 7, 1025),
        (16000, 80.0, 48, 6, 37),
        (8000, 40.0, 24, 6, 1),
    ],
)
def test_other_parameters_agree_with_librosa_too(
    rate_hz: int, f_min_hz: float, bins_per_octave: int, n_octaves: int, hop_samples: int
) -> None:
    # odd hops: for even ones librosa resamples between octaves and is no exact reference
    cqt = CQT(
        sample_rate_hz=rate_hz,
        f_min_hz=f_min_hz,
        bins_per_octave=bins_per_octave,
        n_octaves=n_octaves,
        hop_samples=hop_samples,
        compression=0.0,
    )
    n_samples = 20000 if hop_samples > 1 else 6000
    signal = (0.3 * np.random.default_rng(1).standard_normal(n_samples)).astype(np.float32)
    wanted = reference(signal, cqt, rate_hz=rate_hz, f_min_hz=f_min_hz)
    values = apply(cqt, signal)
    assert values.shape == wanted.shape
    scale = tone_response(cqt, rate_hz=rate_hz, f_min_hz=f_min_hz) * np.abs(signal).max()
    assert (np.abs(values - wanted).max(axis=0) / scale).max() < FLOAT32_TOLERANCE


@pytest.mark.parametrize("hop_samples", [16, 160, 370, 512])
def test_an_even_hop_gives_every_other_frame_of_half_of_it(hop_samples: int) -> None:
    signal = torch.from_numpy(SYNTHETIC["noise"][:30000])[None]
    fine = CQT(hop_samples=hop_samples // 2, compression=0.0)(signal)
    coarse = CQT(hop_samples=hop_samples, compression=0.0)(signal)
    torch.testing.assert_close(coarse, fine[:, ::2][:, : coarse.shape[1]], atol=1e-5, rtol=1e-5)


def test_the_output_is_the_logarithm_of_the_magnitudes() -> None:
    signal = torch.from_numpy(SYNTHETIC["square 100 Hz"])[None]
    wanted = torch.log2(1.0 + 1e4 * MAGNITUDES(signal).double()).float()
    torch.testing.assert_close(CQT()(signal), wanted, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("number", [0, 1, 37, 119, 120, 143])
def test_a_tone_peaks_in_its_bin_at_its_known_height(number: int) -> None:
    values = apply(MAGNITUDES, tone(bin_hz(number), amplitude=1.0))[80:-80]
    assert (values.argmax(axis=1) == number).all()
    # the window's side lobes let the tone's negative frequency move the lowest bins a little
    np.testing.assert_allclose(values[:, number], tone_response(MAGNITUDES)[number], rtol=5e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_samples", [0, 1, 2, 370, 371, 372, 5000, 79999, 80000, 80001])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_any_length_and_batch_has_its_shape(n_samples: int, batch: int, dtype: torch.dtype) -> None:
    cqt = CQT(dtype=dtype)
    out = cqt(torch.rand(batch, n_samples) - 0.5)
    assert out.shape == (batch, 1 + n_samples // 371, 144)
    assert out.shape[1] == cqt.n_frames(n_samples)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert (out >= 0).all()


@given(n_samples=st.integers(1, 20000), batch=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_an_item_does_not_depend_on_its_neighbours(n_samples: int, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    waveform = torch.from_numpy(rng.uniform(-1.0, 1.0, (batch, n_samples)).astype(np.float32))
    kept = int(rng.integers(batch))
    others = torch.full_like(waveform, math.nan)  # nothing of a neighbour may reach over, were it worse than loud
    others[kept] = waveform[kept]
    together = MAGNITUDES(waveform)
    torch.testing.assert_close(MAGNITUDES(others)[kept], together[kept], atol=0.0, rtol=0.0)
    alone = MAGNITUDES(waveform[kept : kept + 1])[0]
    torch.testing.assert_close(alone, together[kept], atol=2e-5, rtol=1e-5)


@given(gain=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_magnitudes_follow_the_gain_and_ignore_the_sign(gain: float, seed: int) -> None:
    waveform = torch.from_numpy(np.random.default_rng(seed).uniform(-1.0, 1.0, (1, 8000)).astype(np.float32))
    plain = MAGNITUDES(waveform)
    torch.testing.assert_close(MAGNITUDES(gain * waveform), gain * plain, atol=2e-5 * gain, rtol=1e-4)
    torch.testing.assert_close(MAGNITUDES(-waveform), plain, atol=0.0, rtol=0.0)


@given(hops=st.integers(0, 40), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_delay_by_hops_delays_the_frames(hops: int, seed: int) -> None:
    sound = np.random.default_rng(seed).uniform(-1.0, 1.0, 6000).astype(np.float32)
    early = np.pad(sound, (0, hops * 371 + 8000))
    late = np.pad(sound, (hops * 371, 8000))
    before, after = (MAGNITUDES(torch.from_numpy(signal)[None])[0] for signal in (early, late))
    # residues of the frame number have kernels of their own, so agreement is that of the filters
    difference = (after[hops:] - before[: len(before) - hops]).abs().amax(dim=0).double().numpy()
    assert (difference / tone_response(MAGNITUDES)).max() < FLOAT32_TOLERANCE


def test_sounds_far_apart_add_up() -> None:
    first, second = np.zeros((2, N), dtype=np.float32)
    first[:20000] = SYNTHETIC["noise"][:20000]
    second[50000:] = SYNTHETIC["square 100 Hz"][50000:]
    both = apply(MAGNITUDES, first + second)
    np.testing.assert_allclose(both, apply(MAGNITUDES, first) + apply(MAGNITUDES, second), atol=2e-4)


def test_input_of_other_types_and_strides_is_taken() -> None:
    waveform = torch.from_numpy(SYNTHETIC["noise"])[None]
    wanted = MAGNITUDES(waveform)
    torch.testing.assert_close(MAGNITUDES(waveform.double()), wanted)
    strided = torch.stack([waveform, waveform], dim=-1).view(1, -1)[:, ::2]
    torch.testing.assert_close(MAGNITUDES(strided), wanted, atol=0.0, rtol=0.0)
    untouched = waveform.clone()
    MAGNITUDES(waveform)
    torch.testing.assert_close(waveform, untouched, atol=0.0, rtol=0.0)


def test_inference_mode_and_no_grad_give_the_same() -> None:
    waveform = torch.from_numpy(SYNTHETIC["noise"])[None]
    wanted = MAGNITUDES(waveform)
    with torch.inference_mode():
        assert torch.equal(MAGNITUDES(waveform), wanted)
    with torch.no_grad():
        assert torch.equal(MAGNITUDES(waveform), wanted)


def test_no_parameters_and_nothing_to_save() -> None:
    assert list(CQT().parameters()) == []
    assert CQT().state_dict() == {}  # kernels follow from the parameters, weights files need not carry them


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, FLOAT32_TOLERANCE), (torch.bfloat16, BFLOAT16_TOLERANCE)]
)
def test_cuda_agrees_with_librosa(dtype: torch.dtype, tolerance: float) -> None:
    cqt = CQT(compression=0.0, dtype=dtype).to("cuda")
    for name, signal in SYNTHETIC.items():
        values = cqt(torch.from_numpy(signal)[None].to("cuda"))
        assert values.device.type == "cuda"
        error = error_per_bin(values[0].double().cpu().numpy(), reference(signal, MAGNITUDES), np.abs(signal).max())
        assert error.max() < tolerance, name


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"f_min_hz": 0.0}, "must be positive"),
        ({"f_min_hz": -80.0}, "must be positive"),
        ({"bins_per_octave": 0}, "must be positive"),
        ({"n_octaves": 0}, "must be positive"),
        ({"hop_samples": 0}, "must be positive"),
        ({"sample_rate_hz": -1}, "must be positive"),
        ({"n_octaves": 7}, r"highest bin, 9948 Hz, must lie below 0.36 of the sample rate \(16000 Hz\)"),
        ({"sample_rate_hz": 8000}, "use fewer octaves or a lower f_min_hz"),
        ({"dtype": torch.float16}, "dtype must be float32 or bfloat16, not torch.float16"),
    ],
)
def test_parameters_that_cannot_work_are_refused(parameters: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CQT(**parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(), (80000,), (1, 2, 80000)])
def test_a_waveform_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"expected \(batch, samples\), got shape"):
        CQT()(torch.zeros(shape))


def test_front_ends_import_neither_ray_nor_decoders() -> None:
    program = "import sys, catalog_tagger.frontends; print({'ray', 'av', 's3fs', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
