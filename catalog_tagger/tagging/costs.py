"""What a million tracks cost on named machines: one formula, its constants, and where each of them comes from.

    cost = price of an hour x 1e6 x length / (CPUs x rate of a CPU x 3600)
    rate of a CPU = its part of a core / (decoded / DECODE + heard / LISTEN + TRACK / length)

in seconds of audio per second. `length` is the mean of the tracks, in seconds; `decoded` and `heard` are shares of it:

- scan: 1 and 1;
- skim: window = places of the first look (`skimming.places`) x 5 s / length is heard, and `SEEK` x window decoded;
- auto: both as skim, and for what a skim does not settle the whole as well: + 1 - music x settled.

Tracks too short to be looked at, or for auto too long, are scanned; all tracks are taken to be of the mean length.
`music` is the share of the audio that is music, `settled` the share of that which is not scanned after a look; with
rows of one's own both are those of the warehouse. Where a GPU listens, `heard / LISTEN` is left out.

Measured on this product, on a virtual machine of two cores of an AMD EPYC (Zen 4, 2.6 GHz, one thread each as far as
it shows): `DECODE`, `LISTEN`, `SEEK`, `TRACK` and `SETTLED`. Assumed: that cores of the machines to hire are as fast
as these; that a CPU which is half a core does `HALF` of one; that a GPU listens no slower than the CPUs beside it
decode; `MUSIC`. Left out: looks after the first, starting machines, idle ones, storage, requests and transfer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from catalog_tagger.audio import SEGMENT_S, seconds_to_samples, segment_count
from catalog_tagger.tagging.skimming import Depth, may_skim, places

#: what hears segments, a CPU with its arithmetic or a GPU
Listener = Literal["bfloat16", "float32", "gpu"]

#: from the one that hears least to the one that hears all
BY_DEPTH: Final[tuple[Depth, ...]] = ("skim", "auto", "scan")

#: seconds of audio per second and core: MP3 to samples at 16 kHz, tracks of four minutes one after the other
DECODE: Final = 948.0
#: the same for transform, peaks and the three networks that ship, batches of 32 segments. float32 as on CPUs without
#: AVX-512: 430 with it, times 0.93, measured with torch and oneDNN held to AVX2
LISTEN: Final[Mapping[Listener, float]] = {"bfloat16": 863.0, "float32": 400.0}
#: decoding windows of 5 s that are sought, relative to as much audio in one piece
SEEK: Final = 1.35
#: seconds of a core for a track of any length: Ray's task and messages, rows
TRACK: Final = 0.010
#: of music, the share that a look settles: tracks that a job of depth auto left after a look
SETTLED: Final = 0.88
#: of the audio of a catalogue of which nothing is known
MUSIC: Final = 0.9
#: of a core, what one of two threads on it does when both work; 0.5 if they gain nothing of each other
HALF: Final = 0.6

#: milliseconds of a core for 5 s of audio, each part by itself, networks in bfloat16
_FRONT_MS: Final = 1.0 + 0.31
_NETWORK_MS: Final[Mapping[str, float]] = {"speech_music": 1.93, "voice_gender": 1.19, "tagger": 1.0}
_MEAN_MS: Final = sum(_NETWORK_MS.values()) / len(_NETWORK_MS)

PRICES_OF: Final = "AWS us-east-1, on demand, April 2026"
FORMULA: Final = (
    "cost = price of an hour x 1e6 x length / (CPUs x rate of a CPU x 3600), rate of a CPU = "
    "its part of a core / (decoded / DECODE + heard / LISTEN + TRACK / length)"
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A type of machine that can be hired."""

    name: str
    cpus: int
    gpus: int
    part_of_core: float
    """What one of its CPUs does of a core."""
    listener: Listener
    price_per_hour: float
    """US dollars, the list price of `PRICES_OF`."""


MACHINES: Final = (
    Machine(name="c7a.4xlarge", cpus=16, gpus=0, part_of_core=1.0, listener="bfloat16", price_per_hour=0.82112),
    Machine(name="c6a.4xlarge", cpus=16, gpus=0, part_of_core=HALF, listener="float32", price_per_hour=0.612),
    Machine(name="g6.4xlarge", cpus=16, gpus=1, part_of_core=HALF, listener="gpu", price_per_hour=1.3232),
)


@dataclass(frozen=True, kw_only=True)
class Music:
    """What of a catalogue's audio need not be heard, as shares from 0 to 1."""

    share: float = MUSIC
    """Of the audio, music."""
    settled: float = SETTLED
    """Of that, what is not scanned after a look."""
    share_measured: bool = False
    settled_measured: bool = False
    """Whether they are those of the warehouse's own rows."""

    def __post_init__(self) -> None:
        if not (0.0 <= self.share <= 1.0 and 0.0 <= self.settled <= 1.0):
            raise ValueError(f"shares of music are from 0 to 1, not {self.share} and {self.settled}")


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Tracks as far as their cost goes."""

    track_s: float = 240.0
    """Mean length."""
    bundles: tuple[str, ...] = tuple(_NETWORK_MS)
    """Names of those that listen."""
    can_skim: bool = True
    """Whether one of them tells speech and music; without it every depth scans."""
    music: Music = field(default_factory=Music)

    def __post_init__(self) -> None:
        if not self.track_s > 0:
            raise ValueError(f"the mean length of tracks is positive, not {self.track_s} s")


@dataclass(frozen=True, kw_only=True)
class Share:
    """Of the audio, how much is worked on; more than 1 where some of it is twice."""

    decoded: float
    heard: float


@dataclass(frozen=True, kw_only=True)
class Million:
    """What a million tracks take on machines of one type."""

    machine: str
    depth: Depth
    price_per_hour: float
    rate: float
    """Seconds of audio per second of one machine."""
    machine_hours: float
    cost: float
    """US dollars."""


def share_of(depth: Depth, catalogue: Catalogue) -> Share:
    """How much of a catalogue's audio a depth decodes and hears."""
    n_segments = segment_count(seconds_to_samples(catalogue.track_s))
    if not (catalogue.can_skim and may_skim(n_segments, depth)):
        return Share(decoded=1.0, heard=1.0)
    window = len(places(n_segments, 0)) * SEGMENT_S / catalogue.track_s
    whole = 0.0 if depth == "skim" else 1.0 - catalogue.music.share * catalogue.music.settled
    return Share(decoded=SEEK * window + whole, heard=window + whole)


def listen_rate(bundles: Sequence[str], listener: Listener) -> float:
    """Seconds of audio per second and core that some bundles hear; any that does not ship counts as the others' mean.

    The networks are stretched so that all three together with the front end give `LISTEN`.
    """
    if listener == "gpu":
        return float("inf")
    all_ms = SEGMENT_S / LISTEN[listener] * 1000.0
    stretch = (all_ms - _FRONT_MS) / sum(_NETWORK_MS.values())
    networks_ms = sum(_NETWORK_MS.get(name, _MEAN_MS) for name in bundles)
    return SEGMENT_S * 1000.0 / (_FRONT_MS + stretch * networks_ms)


def core_rate(depth: Depth, catalogue: Catalogue, *, listener: Listener) -> float:
    """Seconds of audio per second that a core tags, or decodes for a GPU that listens."""
    share = share_of(depth, catalogue)
    listening_s = share.heard / listen_rate(catalogue.bundles, listener)
    return 1.0 / (share.decoded / DECODE + listening_s + TRACK / catalogue.track_s)


def million_on(machine: Machine, depth: Depth, catalogue: Catalogue) -> Million:
    """A million tracks such as a catalogue's on one type of machine."""
    rate = machine.cpus * machine.part_of_core * core_rate(depth, catalogue, listener=machine.listener)
    hours = 1e6 * catalogue.track_s / rate / 3600.0
    return Million(
        machine=machine.name,
        depth=depth,
        price_per_hour=machine.price_per_hour,
        rate=rate,
        machine_hours=hours,
        cost=hours * machine.price_per_hour,
    )


def per_million(catalogue: Catalogue) -> tuple[Million, ...]:
    """Every machine by every depth, those of a machine together."""
    return tuple(million_on(machine, depth, catalogue) for machine in MACHINES for depth in BY_DEPTH)


def constants(catalogue: Catalogue) -> dict[str, float]:
    """The numbers that stand in the formula for a catalogue, by name."""
    shares = {depth: share_of(depth, catalogue) for depth in BY_DEPTH}
    numbers = {
        "decode": DECODE,
        "listen_bfloat16": listen_rate(catalogue.bundles, "bfloat16"),
        "listen_float32": listen_rate(catalogue.bundles, "float32"),
        "seek": SEEK,
        "track_s": TRACK,
        "half_core": HALF,
        **{f"decoded_{depth}": share.decoded for depth, share in shares.items()},
        **{f"heard_{depth}": share.heard for depth, share in shares.items()},
    }
    return {name: round(number, 4) for name, number in numbers.items()}
