"""Maven Central -> a Kafka that can be started, in a cache directory that all checkouts share.

<cache>/kafka/<digest of pom.xml>/
    lib/                    the jars: complete as soon as it has this name
    classes-<java>.jsa      AppCDS archive: the classes of a started broker, already parsed
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import LocalServerError, ServerStartError
from infra.local.java import Java, find_java, find_maven

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
LOGGING = HERE / "log4j2.properties"
JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
HEAP = ("-Xms128m", "-Xmx512m")
FETCH_TIMEOUT_S = 600

WarmUp = Callable[["KafkaInstallation", Path], None]
"""Starts a broker of an installation once, has Java dump its classes to the path, and stops it."""


@dataclass(frozen=True, slots=True)
class KafkaInstallation:
    """A Java and a class path that make a Kafka broker."""

    java: Java
    jars: tuple[Path, ...]
    archive: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """What a Kafka process has to find in its environment."""
        return {"CLASSPATH": os.pathsep.join(map(str, self.jars))}

    def command(self, main_class: str, *arguments: str, dump: Path | None = None) -> list[str]:
        """Return the command that runs a class of Kafka; `dump` archives its classes at its end."""
        options = [*JVM_OPTIONS, *HEAP, f"-Dlog4j2.configurationFile={LOGGING}"]
        if dump is not None:
            options.append(f"-XX:ArchiveClassesAtExit={dump}")
        elif self.archive is not None:
            options.append(f"-XX:SharedArchiveFile={self.archive}")
        return [str(self.java.launcher), *options, main_class, *arguments]


def cache_directory() -> Path:
    """Return where servers are kept: EARWITNESS_CACHE, or else the user's cache directory."""
    named = os.environ.get("EARWITNESS_CACHE")
    if named:
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "earwitness"


def install_kafka(warm_up: WarmUp) -> KafkaInstallation:
    """Fetch Kafka unless it is there already; processes that do so at once wait for the first.

    Raises:
        MissingToolError: Java, or Maven where there is something to fetch, is missing.
        ServerStartError: Maven could not fetch the jars.

    """
    java = find_java()
    home = cache_directory() / "kafka" / digest(POM.read_bytes())
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / "install.lock"):
        if not (home / "lib").exists():
            _fetch_jars(home)
        jars = tuple(sorted((home / "lib").glob("*.jar")))
        archive = home / f"classes-{digest(java.version.encode())}.jsa"
        if not archive.exists():
            _archive_classes(KafkaInstallation(java, jars, None), archive, warm_up)
    # An empty file says that this Java cannot make an archive: not to be tried at every start.
    return KafkaInstallation(java, jars, archive if archive.stat().st_size else None)


def _fetch_jars(home: Path) -> None:
    maven = find_maven()
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        jars, pom = Path(scratch) / "lib", Path(scratch) / "pom.xml"
        shutil.copy(POM, pom)
        _run_maven(maven, pom, jars)
        jars.rename(home / "lib")


def _run_maven(maven: Path, pom: Path, jars: Path) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    try:
        done = subprocess.run(  # noqa: S603 - a launcher found on the path, no shell
            [maven, "-q", "-B", "-f", pom, *goal],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FETCH_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise ServerStartError("mvn", f"took more than {FETCH_TIMEOUT_S} s") from exc
    if done.returncode != 0:
        raise ServerStartError("mvn", f"could not fetch Kafka ({done.returncode})", done.stdout)


def _archive_classes(installation: KafkaInstallation, archive: Path, warm_up: WarmUp) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        dump = Path(scratch) / "classes.jsa"
        try:
            warm_up(installation, dump)
        except LocalServerError:
            # Not every Java makes archives. One that cannot start Kafka at all says so without, too.
            dump.unlink(missing_ok=True)
        dump.touch()
        dump.rename(archive)


def digest(data: bytes) -> str:
    """Return a short name for what decides an installation."""
    return hashlib.sha256(data).hexdigest()[:12]


@contextmanager
def locked(lock_file: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for; it ends with the process, however that ends."""
    with lock_file.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
