"""espeak-ng -> a folder of generated speech: a sentence of each language, in every variant of its voice."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from infra.local.debian import Program
from infra.local.errors import ServerStartError

SPEAK_TIMEOUT_S = 60
VARIANTS = ("", "+f2", "+f4", "+m3", "+m7", "+croak", "+whisper", "+klatt2")
SENTENCES = {
    "af": "Die kinders speel in die tuin agter die huis.",
    "ar": "ذهبت إلى السوق في الصباح واشتريت الخبز.",
    "bg": "Утре ще отидем заедно на пазара.",
    "ca": "Avui hem dinat a casa dels meus avis.",
    "cmn": "我们明天早上一起去公园散步。",
    "cs": "Dnes večer přijdou na návštěvu naši přátelé.",
    "da": "Vi skal huske at købe mælk og brød i dag.",
    "de": "Der nächste Zug nach Hamburg fährt von Gleis sieben.",
    "el": "Το βράδυ θα φάμε όλοι μαζί στο σπίτι.",
    "en-gb": "Could you tell me what time the library closes on Friday?",
    "en-us": "Please leave the package at the front desk, and call me later.",
    "es": "Mañana vamos a visitar a mis primos en el pueblo.",
    "et": "Täna õhtul läheme koos teatrisse.",
    "fa": "فردا با دوستانم به مدرسه می‌روم.",
    "fi": "Huomenna menemme yhdessä kirjastoon lukemaan.",
    "fr": "Je voudrais deux billets pour la séance de huit heures.",
    "hi": "कल सुबह हम सब बाज़ार जाएँगे।",
    "hr": "Sutra idemo na ručak kod moje sestre.",
    "hu": "Holnap reggel korán indulunk a nagymamához.",
    "id": "Besok pagi kami pergi ke pasar bersama ibu.",
    "it": "Domani pomeriggio andiamo insieme a comprare il pane.",
    "ko": "내일 아침에 친구와 함께 학교에 갑니다.",
    "lt": "Rytoj važiuosime pas senelius į kaimą.",
    "lv": "Rīt mēs kopā brauksim uz pilsētu.",
    "nb": "I morgen skal vi på besøk til bestemor.",
    "nl": "Kunt u mij zeggen waar het station is?",
    "pl": "Jutro rano pojedziemy razem do szkoły.",
    "pt-br": "Amanhã vamos almoçar na casa da minha avó.",
    "ro": "Mâine dimineață mergem împreună la piață.",
    "ru": "Завтра утром мы вместе поедем к бабушке.",
    "sk": "Zajtra pôjdeme spolu do mesta nakupovať.",
    "sv": "I morgon åker vi tillsammans till biblioteket.",
    "sw": "Kesho asubuhi tutakwenda sokoni pamoja.",
    "ta": "நாளை காலை நாங்கள் பள்ளிக்கு செல்வோம்.",
    "tr": "Yarın sabah arkadaşlarımla okula gideceğim.",
    "uk": "Завтра вранці ми разом поїдемо до міста.",
    "vi": "Sáng mai chúng tôi đi chợ cùng với mẹ.",
}
"""By espeak-ng's name of the language."""


def speak(espeak: Program, folder: Path) -> None:
    """Have espeak-ng say every sentence in every variant of its voice, at many speeds and pitches.

    Raises:
        ServerStartError: it could not.

    """
    folder.mkdir()
    environment = {**os.environ, **espeak.environment}
    # An unpacked one looks for its voices where an installed one has them.
    for voices in espeak.path.parents[1].glob("lib/*/espeak-ng-data"):
        environment["ESPEAK_DATA_PATH"] = str(voices.parent)
    for number, (language, variant) in enumerate(product(SENTENCES, VARIANTS)):
        manner = {"-v": language + variant, "-s": 130 + 17 * (number % 7), "-p": 30 + 9 * (number % 5)}
        options = [str(word) for option in manner.items() for word in option]
        file = str(folder / f"{language}{variant}.wav")
        _run(espeak.command(*options, "-w", file, "--", SENTENCES[language]), environment)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        subprocess.run(  # noqa: S603 - a program that was found, no shell
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=SPEAK_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise ServerStartError("espeak-ng", f"could not speak: {exc}") from exc
