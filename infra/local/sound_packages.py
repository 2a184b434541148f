"""Which packages of Debian's hold recordings, what of each to take, and what by its name may sound in it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SUFFIXES = frozenset({".aif", ".aiff", ".au", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"})

SPEECH, MUSIC, SOUND, AMBIGUOUS = "speech", "music", "sound", "ambiguous"
BY_NAME = {
    AMBIGUOUS: re.compile(
        r"chain ?saw|saw ?mill|buzz ?saw|(?<![a-z])saw(?![a-z])"
        r"|clock|cuckoo|metronome|(?<![a-z])(ti(ck|mer)|tock|watch)"
        r"|fire|flame|burn|torch|crackl|inferno|furnace|lava|napalm|chimney|hearth|stove|(?<![a-z])ember"
        r"|bab(y|ies)|infant|cradle|(?<![a-z])(cry|doll)"
        r"|dog|puppy|hound|bark|woof|wolf|wolv|howl|growl|snarl|coyote|dingo|hyena|jackal|(?<![a-z])fox"
        r"|heli|copter|apache|chopper|rotor"
        r"|(?<![a-z])rain|storm|thunder|lightning|cloud|umbrella|hurricane|tornado"
        r"|rooster|cockerel|chick|farm|crow(?![dn])|(?<![a-z])(cock|hen)(?![a-z])"
        r"|(?<![a-z])(sea|tide|surf|shore|coast|waves?|river|stream|lake|island)(?![a-z])"
        r"|ocean|beach|harbou?r|seaport|gull|water|lighthouse|sailboat|yacht"
        r"|sneez|atchoo|siren|alarm|alert|police|ambulance|smoke"
    ),
    MUSIC: re.compile(
        r"music|songs?(?![a-z])|ringtones?|instruments|bass(es)?(?![a-z])|beats|drum|percussion|shapes|waveforms"
        r"|melod|jingle|fanfare|piano|guitar|trumpet|cello|cembalo|(?<![a-z])bgm(?![a-z])"
    ),
    SPEECH: re.compile(r"voices?(?![a-z])|speech|spoken"),
}
"""By a path in lower case, CamelCase parted: the first that matches is the label."""


@dataclass(frozen=True, slots=True)
class SoundPackage:
    """A package of Debian's, and which of its files to take."""

    name: str
    licence: str
    """Of its recordings, as its copyright file has it."""
    folder: str
    """Where they lie, under /usr/share."""
    label: str | None = None
    """Of them all; by default each has the one that its name suggests."""
    pattern: str = ""
    """Regular expression that is in the paths, relative to the folder, of the files to take."""
    doubtful: str | None = None
    """The same, of files that may hold one of the classes although their names do not say so."""
    every: int = 1
    """2 takes every second of the files, so that one voice does not outweigh the rest."""
    whole: bool = False
    """Do not cut what is long."""

    def files(self, unpacked: Path) -> list[Path]:
        """Return the recordings, in order; links are passed over."""
        home = unpacked / "usr" / "share" / self.folder
        found = (file for file in home.rglob("*") if file.suffix.lower() in SUFFIXES)
        wanted = (file for file in found if re.search(self.pattern, file.relative_to(home).as_posix()))
        return sorted(file for file in wanted if file.is_file() and not file.is_symlink())[:: self.every]

    def label_of(self, file: Path, unpacked: Path) -> str:
        """Return the label of one of the recordings."""
        path = file.relative_to(unpacked / "usr" / "share" / self.folder).as_posix()
        if self.doubtful is not None and re.search(self.doubtful, path):
            return AMBIGUOUS
        return self.label or suggested_label(path)


def suggested_label(path: str) -> str:
    """Return the label that a path suggests, or that of any other sound."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path).lower()
    return next((label for label, names in BY_NAME.items() if names.search(plain)), SOUND)


_SPOKEN = r"^(?!.*(silence|beep|tone|ringing|monkeys))"


def _prompts(language: str, folder: str, licence: str = "CC-BY-SA-3.0", every: int = 1) -> SoundPackage:
    """Return what a telephone exchange says in a language, without its tones."""
    name = f"asterisk-core-sounds-{language}-wav"
    return SoundPackage(name, licence, f"asterisk/sounds/{folder}", SPEECH, _SPOKEN, every=every)


def _music(name: str, licence: str, folder: str, pattern: str = "") -> SoundPackage:
    """Return the music of a package; what is named after a class may well begin with its sound."""
    named = f"(?i){BY_NAME[AMBIGUOUS].pattern}"
    return SoundPackage(name, licence, folder, MUSIC, pattern, doubtful=named)


HELD_OUT = (
    _prompts("es", "es_MX_f_Allison"),
    _prompts("it", "it_IT_m_Carlo"),
    SoundPackage("singularity-music", "CC-BY-SA-3.0", "games/singularity/music", MUSIC, whole=True),
    SoundPackage("sonic-pi-samples", "CC0-1.0", "sonic-pi/samples", MUSIC, doubtful="tick|crow"),
    SoundPackage("tuxpaint-stamps-default", "GPL-2+", "tuxpaint/stamps", SPEECH, r"_desc[^/]*$"),
)
TRAINING = (
    _prompts("en", "en_US_f_Allison", every=2),
    _prompts("fr", "fr_CA_f_June", every=2),
    _prompts("ru", "ru_RU_f_IvrvoiceRU", "CC-BY-3.0", every=2),
    _music("a7xpg-data", "BSD-2-Clause", "games/a7xpg/sounds", "^bgm"),
    _music("ardentryst", "CC-BY-SA-3.0", "games/ardentryst/Music"),
    _music("asc-music", "GPL-2+", "games/asc/music"),
    _music("asterisk-moh-opsound-wav", "CC-BY-SA-3.0", "asterisk/moh"),
    SoundPackage("bucklespring-data", "GPL-2+", "buckle/wav", SOUND),
    SoundPackage("bzflag-data", "LGPL-2.1 or MPL-2.0", "games/bzflag"),
    SoundPackage("colobot-common-sounds", "GPL-3+", "games/colobot", doubtful="^sounds/"),
    SoundPackage("crrcsim-data", "GPL-2", "games/crrcsim/sounds"),
    SoundPackage("csmash-data", "GPL-2+", "games/csmash/wav"),
    SoundPackage("deepin-sound-theme", "GPL-3+", "sounds/deepin"),
    SoundPackage("etw-data", "GPL-2+", "games/etw", doubtful="^arcadesnd/"),
    _music("extremetuxracer-data", "GPL-2+", "games/etr/music"),
    SoundPackage("fillets-ng-data-cs", "GPL-2", "games/fillets-ng/sound", SPEECH, "/cs/", every=3),
    SoundPackage("fillets-ng-data-nl", "GPL-2", "games/fillets-ng/sound", SPEECH, "/nl/", every=3),
    SoundPackage("freetennis-common", "GPL-2+", "sounds/freetennis-common"),
    _music("fretsonfire-songs-sectoid", "MIT", "games/fretsonfire/data/songs"),
    SoundPackage("frozen-bubble-data", "GPL-2", "games/frozen-bubble/snd"),
    SoundPackage("gamine-data", "GPL-2+, GPL-3+, public domain", "games/gamine/sounds"),
    SoundPackage("gcin-voice", "GPL-3 or LGPL-3, CC-BY-3.0", "gcin-voice/ogg", SPEECH),
    _music("gunroar-data", "BSD-2-Clause", "games/gunroar/sounds/musics"),
    _music("hedgewars-data", "GPL-2", "games/hedgewars/Data/Music"),
    SoundPackage("hydrogen-data", "GPL-2+", "hydrogen/data/drumkits", MUSIC),
    SoundPackage("hyperrogue-music", "GPL-2+, CC-BY-SA-3.0, CC-BY-3.0, CC0-1.0", "hyperrogue"),
    SoundPackage("klettres-data", "GPL-2+", "klettres", SPEECH),
    SoundPackage("ktuberling-data", "GPL-2+", "ktuberling/sounds", SPEECH),
    SoundPackage(
        "lincity-ng-data", "GPL-2+", "games/lincity-ng", doubtful="Residential|Commune|Shanty|Green|Park"
    ),
    SoundPackage("lmms-common", "GPL-2+", "lmms/samples"),
    SoundPackage("lomiri-sounds", "CC-BY-SA-3.0, CC-BY-4.0, CC-BY-3.0, CC0-1.0", "sounds/lomiri"),
    SoundPackage("lugaru-data", "CC-BY-SA-3.0, CC-BY-SA-4.0", "games/lugaru/Sounds"),
    _music("marsshooter-data", "CC-BY-SA-3.0", "games/marsshooter/audio/music"),
    SoundPackage("micropolis-data", "GPL-3+", "games/micropolis/res/sounds"),
    SoundPackage("minetest-data", "CC-BY-SA-3.0", "games/minetest/games"),
    _music("mu-cade-data", "BSD-2-Clause", "games/mu-cade/sounds/musics"),
    SoundPackage("netpanzer-data", "GPL-2+", "games/netpanzer/sound"),
    SoundPackage("neverball-common", "GPL-2+", "games/neverball"),
    _music("noiz2sa-data", "BSD-2-Clause", "games/noiz2sa/sounds", "[.]ogg$"),
    SoundPackage("oxygen-sounds", "LGPL-3+", "sounds", None, "^Oxygen-"),
    _music("parsec47-data", "BSD-2-Clause", "games/parsec47/sounds", "[.]ogg$"),
    SoundPackage("pinball-data", "GPL-2", "games/pinball", None, "^(tux|professor)/"),
    SoundPackage("pinball-table-gnu-data", "GPL-3+, CC-BY-SA-3.0, FAL-1.3", "games/pinball/gnu"),
    SoundPackage("pingus-data", "GPL-2+", "games/pingus"),
    SoundPackage("planetblupi-common", "GPL-3+", "planetblupi/sound", AMBIGUOUS),
    SoundPackage("plee-the-bear-data", "GPL-2+, CC-BY-SA-3.0", "games/plee-the-bear"),
    SoundPackage("qabcs-data", "GPL-3+, CC0-1.0, public domain", "qabcs/abcs", SPEECH, "/sounds/"),
    SoundPackage("qabcs-data", "GPL-3+, CC0-1.0, public domain", "qabcs/abcs/all/noises"),
    _music("rrootage-data", "BSD-2-Clause", "games/rrootage/sounds", "[.]ogg$"),
    SoundPackage("scorched3d-data", "GPL-2+, CC-BY-SA-3.0", "games/scorched3d/data", doubtful="city"),
    SoundPackage("scratch", "CC-BY-SA-3.0", "scratch/Media"),
    SoundPackage(
        "searchandrescue-data", "GPL", "games/searchandrescue", doubtful="engine|hh6|overspeed|stall"
    ),
    SoundPackage(
        "simutrans-pak64",
        "Artistic-1.0",
        "games/simutrans/pak/sound",
        doubtful="desert|arctic|tropic|dock|boat|forest|tree",
    ),
    SoundPackage("sound-icons", "GPL-2+", "sounds/sound-icons"),
    SoundPackage("sound-theme-freedesktop", "CC-BY-SA-3.0, CC-BY-3.0, GPL-2", "sounds/freedesktop"),
    _music("torus-trooper-data", "BSD-2-Clause", "games/torus-trooper/sounds/musics"),
    _music("tumiki-fighters-data", "BSD-2-Clause", "games/tumiki-fighters/sounds", "[.]ogg$"),
    SoundPackage("tuxtype-data", "GPL-2", "tuxtype"),
    SoundPackage(
        "wesnoth-1.16-data",
        "GPL-2+",
        "games/wesnoth/1.16/data",
        pattern="^(?!core/music/)",
        doubtful="ambient/(morning|ship)",
    ),
    _music("wesnoth-1.16-music", "GPL-2+", "games/wesnoth/1.16/data/core/music"),
    SoundPackage("wordwarvi-sound", "CC-BY-SA-3.0", "wordwarvi/sounds"),
    _music("xmoto-data", "GPL-2+", "games/xmoto/Textures/Musics"),
    _music("zaz-data", "CC-BY-SA-3.0", "games/zaz", "^mus[^/]*[.]ogg$"),
)
"""Of Debian 12. Left out whatever may not be changed or sold."""

GENERATED = SoundPackage("espeak-ng", "GPL-3+ (the program that spoke)", "earwitness-spoken", SPEECH)


class Collection(StrEnum):
    """What the packages are for."""

    HELD_OUT = "held-out"
    TRAINING = "training"


PACKAGES = {Collection.HELD_OUT: HELD_OUT, Collection.TRAINING: (*TRAINING, GENERATED)}
