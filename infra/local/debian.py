"""Name of a program -> that program, from the path or else out of Debian's packages, without root.

    kcat ── on the path? ─────────────────────────────────────────► Program
      └── no ── apt-get download ── dpkg-deb -x ── <cache>/debian ──┘

<cache>/debian/<digest of the release>/
    apt/            lists of packages and what was downloaded, our own: the system's are not touched
    <name>/         packages and those of their dependencies that the system lacks, unpacked

An unpacked program finds its libraries by LD_LIBRARY_PATH (`Program.environment`), but nothing that is looked
up under a fixed path, such as plug-ins: sox reads and writes WAV and raw samples then, not FLAC. No script of
a package is run, and nothing is installed.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import LocalServerError, MissingToolError, ServerStartError
from infra.local.installation import cache_directory, digest, locked

RELEASE = Path("/etc/os-release")
DPKG_STATUS = Path("/var/lib/dpkg/status")
PROGRAM_FOLDERS = ("usr/bin", "bin", "usr/games", "usr/sbin")
FETCH_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Program:
    """A program that can be run, and the folders of libraries that came with it."""

    path: Path
    libraries: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """What has to be added to the environment that the program runs in."""
        if not self.libraries:
            return {}
        given = os.environ.get("LD_LIBRARY_PATH")
        return {"LD_LIBRARY_PATH": os.pathsep.join([*map(str, self.libraries), *([given] if given else [])])}

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs the program."""
        return [str(self.path), *arguments]


def find_program(name: str, package: str | None = None, *, fetch: bool = False) -> Program:
    """Find a program on the path, or fetch it and what it needs from Debian's packages into the cache.

    `package` is the one that holds the program, by default of the same name; `fetch` passes the path by.
    Processes that fetch at once wait for the first.

    Raises:
        MissingToolError: it is not on the path, and this machine's packages cannot be fetched or lack it.

    """
    found = None if fetch else shutil.which(name)
    if found is not None:
        return Program(Path(found))
    package = package or name
    try:
        return _program(fetch_packages(package, package), name)
    except ServerStartError as exc:
        raise _missing(name, [package], exc) from exc


def fetch_packages(name: str, *packages: str) -> Path:
    """Return the folder that holds packages, unpacked; fetch them, and what they need, unless it is there.

    `name` is what the folder is called, and what is missing where they cannot be had.

    Raises:
        MissingToolError: this machine's packages cannot be fetched, or lack one of these.

    """
    try:
        home = cache_directory() / "debian" / _digest()
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "install.lock"):
            prefix = home / name
            if not prefix.exists():
                _fetch(packages, prefix)
    except LocalServerError as exc:
        raise _missing(name, packages, exc) from exc
    return prefix


def _missing(name: str, packages: Sequence[str], reason: LocalServerError) -> MissingToolError:
    install = f"install it (Debian and Ubuntu: `apt-get install {' '.join(packages)}`)"
    return MissingToolError(name, f"{install}; {reason}")


def _fetch(packages: Sequence[str], prefix: Path) -> None:
    apt = Apt(prefix.parent / "apt")
    with tempfile.TemporaryDirectory(dir=prefix.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        for archive in apt.download(packages, Path(scratch) / "archives"):
            _run("dpkg-deb", "-x", str(archive), str(unpacked))
        unpacked.rename(prefix)


@dataclass(frozen=True, slots=True)
class Apt:
    """apt-get with state of its own, so that it needs no rights; it knows what the system has installed."""

    home: Path

    def download(self, packages: Sequence[str], archives: Path) -> list[Path]:
        """Download packages and those of their dependencies that are not installed; return the files.

        Raises:
            ServerStartError: apt-get is not here, or could not.

        """
        self._run(archives, "update")
        # Reinstalling fetches the package even where the system has it.
        self._run(
            archives,
            "install",
            "--reinstall",
            "--download-only",
            "--no-install-recommends",
            "--yes",
            "--",
            *packages,
        )
        return sorted(archives.glob("*.deb"))

    def _run(self, archives: Path, *arguments: str) -> None:
        lists = self.home / "lists"
        for folder in (lists, archives):
            (folder / "partial").mkdir(parents=True, exist_ok=True)
        options = {
            "Dir::State": self.home,
            "Dir::State::lists": lists,
            "Dir::State::status": DPKG_STATUS,
            "Dir::Cache": self.home,
            "Dir::Cache::archives": archives,
            "Dir::Log": self.home,
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        }
        _run("apt-get", *(f"-o{key}={value}" for key, value in options.items()), "-q", *arguments)


def _program(prefix: Path, name: str) -> Program:
    for folder in PROGRAM_FOLDERS:
        path = prefix / folder / name
        if os.access(path, os.X_OK):
            return Program(path, libraries(prefix))
    raise ServerStartError("dpkg-deb", f"unpacked {prefix.name}, which holds no program called {name}")


def libraries(prefix: Path) -> tuple[Path, ...]:
    """Return every folder with shared libraries: some are in one of their own, such as BLAS."""
    return tuple(sorted({file.parent for file in prefix.glob("**/lib/**/*.so*")}))


def _run(*command: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(  # noqa: S603 - constant programs, found on the path, no shell
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FETCH_TIMEOUT_S,
        )
    except OSError as exc:
        raise ServerStartError(command[0], f"is not on this machine: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise ServerStartError(command[0], f"took more than {FETCH_TIMEOUT_S} s") from exc
    if done.returncode != 0:
        raise ServerStartError(command[0], f"failed ({done.returncode})", done.stdout)


def _digest() -> str:
    """Return what tells releases and architectures apart: packages of one do not run on another."""
    release = RELEASE.read_bytes() if RELEASE.exists() else b""
    return digest(release + os.uname().machine.encode())
