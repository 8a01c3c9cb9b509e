"""How the recordings in ``voices/`` were made; nothing of the product runs this.

Every passage is our own text, spoken by espeak-ng 1.51 (``apt-get install espeak-ng``) with

    espeak-ng -v VOICE -s WORDS_PER_MINUTE -p PITCH -w NAME.wav TEXT

resampled to 16 kHz and encoded as mono Opus at 16 kb/s. To make them again:

    python -m catalog_tagger.demo.render_voices
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from catalog_tagger.audio import SAMPLE_RATE_HZ, read_pcm
from catalog_tagger.demo.encode import write_audio

VOICES_DIR: Final = Path(__file__).parent / "voices"


@dataclass(frozen=True)
class Passage:
    """One spoken passage: the file's name, espeak-ng's voice, speed and pitch, and the text."""

    name: str
    voice: str
    words_per_minute: int
    pitch: int
    text: str


PASSAGES: Final = (
    Passage(
        "lighthouse", "en-gb+m3", 150, 42,
        "The keeper of the lighthouse had not spoken to anyone for eleven days when the boat came round the "
        "headland. He put down the lamp, wiped the oil from his hands, and counted the passengers. There were "
        "four. He had been told to expect three. The fourth sat apart from the others, wrapped in a grey coat, "
        "and did not look up at the rock until the rope was thrown.",
    ),
    Passage(
        "orchard", "en-us+f2", 165, 55,
        "My grandmother planted the orchard the year the river moved. Nobody believed that apples would grow on "
        "sand, and for nine summers nobody was wrong. Then one morning in May she called us outside, in our "
        "night clothes, and there it was: a single white blossom, on the smallest tree, at the very end of the "
        "row. We stood around it as if it were a visitor.",
    ),
    Passage(
        "bahnhof", "de+m1", 145, 38,
        "Der Zug hielt an einem Bahnhof, dessen Namen niemand kannte. Auf dem Bahnsteig stand eine Bank, und auf "
        "der Bank lag ein Brief. Der Schaffner hob ihn auf, las die Anschrift und schüttelte den Kopf. Er sei "
        "für den Mann am Fenster, sagte er leise. Der Mann am Fenster aber schlief, und keiner wagte es, ihn zu "
        "wecken.",
    ),
    Passage(
        "marche", "fr-fr+f4", 150, 50,
        "Le samedi, au marché, la vieille dame achetait toujours trois citrons. Elle ne discutait jamais le prix. "
        "Un jour, le marchand lui demanda ce qu'elle en faisait. Elle sourit, posa les pièces sur la table, et "
        "répondit qu'elle les donnait à la mer. Depuis ce matin, personne ne lui vend plus de citrons sans "
        "regarder les vagues.",
    ),
    Passage(
        "puerto", "es+m4", 160, 45,
        "Cuando el capitán volvió al puerto, las luces estaban apagadas. Llamó dos veces a la puerta de la "
        "taberna y esperó. Dentro se oía el reloj, nada más. Pensó en la carta que llevaba en el bolsillo, en "
        "las promesas que había hecho, y se sentó en los escalones a esperar la mañana.",
    ),
    Passage(
        "biblioteca", "it+f3", 155, 58,
        "La biblioteca apriva alle nove, ma il signor Conti arrivava sempre alle otto e mezza. Portava un "
        "quaderno verde e una matita corta. Diceva che stava cercando una frase, una sola, letta da bambino. "
        "Non ricordava il libro, né l'autore. Ricordava soltanto che, dopo averla letta, aveva smesso di avere "
        "paura del buio.",
    ),
    Passage(
        "host", "en-us+m7", 175, 48,
        "Welcome back to the show. Today we talk about the sound of old machines: printing presses, looms, and "
        "the elevator in my apartment building, which has been out of tune since nineteen eighty two. My guest "
        "records these things for a living. She has climbed into clock towers, and once spent a whole night "
        "inside a windmill. After the break, we listen to what she found there.",
    ),
    Passage(
        "guest", "en-gb-scotland+f5", 170, 60,
        "Thank you for having me. The first thing you learn is to wait. A machine has a voice, but it only tells "
        "you the truth when it is tired. I like the hour before closing time, when the belts are warm and "
        "somebody has started to hum. People always ask me which is my favourite. It is a small pump in a "
        "village bakery. It sounds exactly like laughter.",
    ),
)  # fmt: skip


def render(folder: Path = VOICES_DIR) -> None:
    """Speak every passage and encode it as ``folder/NAME.opus``."""
    folder.mkdir(parents=True, exist_ok=True)
    for passage in PASSAGES:
        with tempfile.TemporaryDirectory() as scratch:
            wav = Path(scratch) / "speech.wav"
            options = ["-v", passage.voice, "-s", str(passage.words_per_minute), "-p", str(passage.pitch)]
            subprocess.run(["espeak-ng", *options, "-w", str(wav), passage.text], check=True)  # noqa: S603, S607
            pcm = read_pcm(wav)
        write_audio(
            folder / f"{passage.name}.opus",
            pcm / 32768.0,
            sample_rate_hz=SAMPLE_RATE_HZ,
            codec="opus",
            bit_rate_bps=16000,
        )


if __name__ == "__main__":
    render()
