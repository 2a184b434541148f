"""Debian's packages -> folders of real recordings with a labels.csv: mono 16 kHz FLAC, made once.

    held-out    what false alarms are measured on: never trained on
    training    negatives, and variety for a student to learn from a teacher
                (the two share no package)

<cache>/sounds/<collection>/
    labels.csv                  path,label,licence,source_id; source_id is debian:<package>:<path in it>
    <package>/00000.flac
    packages.digest             of the lists of packages: the folder is made again once they change

The labels are speech, music and sound, none of which is to be found; `ambiguous` is what by its name may be
one of the classes that are. Excerpts of one file have one source_id. Nothing is judged by ear here: a name
that does not tell what sounds is the limit of this.

    python -m infra.local.sounds held-out
"""

import csv
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import soxr
import typer
from numpy.typing import NDArray

from infra.local.debian import fetch_packages, find_program
from infra.local.errors import LocalServerError, ServerStartError
from infra.local.installation import cache_directory, digest, locked
from infra.local.sound_packages import BY_NAME, GENERATED, PACKAGES, Collection, SoundPackage
from infra.local.spoken import SENTENCES, VARIANTS, speak

RATE_HZ = 16_000
SHORTEST_S = 0.3
UNCUT_S, EXCERPTS, EXCERPT_S = 60.0, 3, 20.0
TABLE, STAMP = "labels.csv", "packages.digest"
COLUMNS = ("path", "label", "licence", "source_id")

PCM = NDArray[np.int16]


@dataclass(slots=True)
class Tally:
    """What became of the files; `seconds` of sound by label."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    files: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    short: int = 0
    repeated: int = 0

    def count(self, label: str, pcm: PCM) -> None:
        """Count a recording that was written."""
        self.files[label] += 1
        self.seconds[label] += len(pcm) / RATE_HZ

    @property
    def written(self) -> int:
        """How many recordings there are so far."""
        return self.files.total()

    def __str__(self) -> str:
        """Say it in one line."""
        labels = (f"{n} {label} ({self.seconds[label] / 3600:.2f} h)" for label, n in self.files.items())
        return (
            f"{', '.join(labels)}; left out: {self.unreadable} unreadable, "
            f"{self.short} shorter than {SHORTEST_S} s or silent, {self.repeated} that were there already"
        )


def held_out() -> Path:
    """Return the folder that false alarms are measured on; make it unless it is there.

    Raises:
        MissingToolError: this machine's packages cannot be fetched.

    """
    return collect(Collection.HELD_OUT)


def training() -> Path:
    """Return the folder of recordings to train on; make it unless it is there.

    Raises:
        MissingToolError: this machine's packages cannot be fetched.

    """
    return collect(Collection.TRAINING)


def collect(collection: Collection, directory: Path | None = None) -> Path:
    """Return the folder of a collection, by default in the cache; make it unless it is there.

    Processes that do so at once wait for the first; the folder is complete as soon as it has its name.

    Raises:
        MissingToolError: this machine's packages cannot be fetched.
        ServerStartError: the directory holds something else, or espeak-ng could not speak.

    """
    packages = PACKAGES[collection]
    target = directory or cache_directory() / "sounds" / collection
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent / f"{target.name}.lock"):
        if not _is_made_of(packages, target):
            _refuse_theirs(target)
            tally = _fetch(packages, target)
            typer.echo(f"{target.name}: {tally}", err=True)
    return target


def _refuse_theirs(target: Path) -> None:
    """Refuse to replace what was not made here."""
    if target.exists() and not (target / STAMP).is_file():
        raise ServerStartError(str(target), "is there already and holds something else: name a new folder")


def _fetch(packages: Sequence[SoundPackage], target: Path) -> Tally:
    names = sorted({package.name for package in packages} - {GENERATED.name})
    unpacked = fetch_packages(f"sounds-{digest(repr(names).encode())}", *names)
    if GENERATED in packages:
        _speak_once(unpacked / "usr" / "share" / GENERATED.folder)
    return make(packages, unpacked, target)


def _speak_once(folder: Path) -> None:
    """Fill a folder with generated speech unless it is there."""
    if folder.exists():
        return
    espeak = find_program("espeak-ng")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        speak(espeak, Path(scratch) / folder.name)
        (Path(scratch) / folder.name).rename(folder)


def make(packages: Sequence[SoundPackage], unpacked: Path, target: Path) -> Tally:
    """Write the folder of a collection anew out of packages that lie unpacked; say how it went."""
    tally, seen = Tally(), set[bytes]()
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for package in packages:
                table.writerows(_write(package, unpacked, folder, seen, tally))
        (folder / STAMP).write_text(_stamp(packages), encoding="ascii")
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    return tally


def _write(
    package: SoundPackage, unpacked: Path, folder: Path, seen: set[bytes], tally: Tally
) -> Iterator[tuple[str, ...]]:
    """Write the recordings of a package and yield their rows."""
    (folder / package.name).mkdir(exist_ok=True)
    for file in package.files(unpacked):
        label = package.label_of(file, unpacked)
        source = f"debian:{package.name}:{file.relative_to(unpacked).as_posix()}"
        for pcm in _kept(file, package.whole, seen, tally):
            path = f"{package.name}/{tally.written:05d}.flac"
            soundfile.write(folder / path, pcm, RATE_HZ, subtype="PCM_16")
            tally.count(label, pcm)
            yield path, label, package.licence, source


def _kept(file: Path, whole: bool, seen: set[bytes], tally: Tally) -> Iterator[PCM]:
    """Yield what is new and long enough of a file, and count the rest."""
    try:
        excerpts = list(read_excerpts(file, whole))
    except (OSError, soundfile.SoundFileError):
        tally.unreadable += 1
        return
    for pcm in excerpts:
        mark = sha256(pcm.tobytes()).digest()
        if len(pcm) < SHORTEST_S * RATE_HZ or not pcm.any():
            tally.short += 1
        elif mark in seen:
            tally.repeated += 1
        else:
            seen.add(mark)
            yield pcm


def read_excerpts(file: Path, whole: bool = False) -> Iterator[PCM]:
    """Yield a recording as `int16[samples]`, mono at 16 kHz; of a long one three stretches, spread over it.

    Raises:
        soundfile.SoundFileError: it is not a recording that can be read.

    """
    with soundfile.SoundFile(file) as sound:
        for first, count in stretches(sound.frames, sound.samplerate, whole):
            sound.seek(first)
            pcm = sound.read(count, dtype="float32", always_2d=True).mean(axis=1)
            mono = soxr.resample(pcm, sound.samplerate, RATE_HZ, quality="HQ")
            yield np.rint(np.clip(mono * 32768.0, -32768, 32767)).astype(np.int16)


def stretches(frames: int, rate_hz: int, whole: bool = False) -> list[tuple[int, int]]:
    """Return what to read of a recording, as (first frame, count): all of it, or excerpts evenly apart."""
    if whole or frames <= UNCUT_S * rate_hz:
        return [(0, frames)]
    count = int(EXCERPT_S * rate_hz)
    apart = (frames - count) // (EXCERPTS + 1)
    return [(apart * (i + 1), count) for i in range(EXCERPTS)]


def _stamp(packages: Iterable[SoundPackage]) -> str:
    names = {label: pattern.pattern for label, pattern in BY_NAME.items()}
    return digest(repr((tuple(packages), SENTENCES, VARIANTS, names)).encode())


def _is_made_of(packages: Iterable[SoundPackage], folder: Path) -> bool:
    stamp = folder / STAMP
    return stamp.is_file() and stamp.read_text(encoding="ascii") == _stamp(packages)


def main() -> None:
    """Run the command line."""
    try:
        typer.run(_command)
    except LocalServerError as exc:
        typer.echo(f"error: {exc}", err=True)
        sys.exit(1)


def _command(
    collection: Annotated[Collection, typer.Argument(help="What the recordings are for.")],
    directory: Annotated[Path | None, typer.Argument(help="Folder to make; by default in the cache.")] = None,
) -> None:
    """Fetch recordings out of Debian's packages, and print where they are."""
    typer.echo(collect(collection, directory))


if __name__ == "__main__":
    main()
