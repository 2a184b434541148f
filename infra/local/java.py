"""This machine -> a Java that runs Kafka, and Maven to fetch it with."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import MissingToolError

OLDEST_JAVA = 17
INSTALL_JAVA = (
    f"install a Java runtime of version {OLDEST_JAVA} or newer (Debian and Ubuntu: "
    "`apt-get install openjdk-17-jre-headless`, macOS: `brew install openjdk`) "
    "or name one with JAVA_HOME"
)
INSTALL_MAVEN = (
    "install Apache Maven (Debian and Ubuntu: `apt-get install maven`, macOS: `brew install maven`)"
)
VERSION_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Java:
    """One Java runtime: its launcher and all that it says of its version."""

    launcher: Path
    version: str


def find_java() -> Java:
    """Find the Java of JAVA_HOME, or else the first on the path.

    Raises:
        MissingToolError: there is none, it does not run, or it is too old for Kafka.

    """
    found = shutil.which("java", path=_search_path())
    if found is None:
        raise MissingToolError("java", INSTALL_JAVA)
    version = _version(found)
    major = re.search(r'version "(\d+)', version)
    if major is None or int(major[1]) < OLDEST_JAVA:
        raise MissingToolError(f"java {OLDEST_JAVA} (not {found})", INSTALL_JAVA)
    return Java(Path(found), version)


def find_maven() -> Path:
    """Find Maven on the path.

    Raises:
        MissingToolError: there is none.

    """
    found = shutil.which("mvn")
    if found is None:
        raise MissingToolError("mvn", INSTALL_MAVEN)
    return Path(found)


def _search_path() -> str:
    path = os.environ.get("PATH", os.defpath)
    home = os.environ.get("JAVA_HOME")
    return f"{home}/bin{os.pathsep}{path}" if home else path


def _version(launcher: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - a launcher found on the path, no shell
            [launcher, "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MissingToolError(f"a java that runs (not {launcher})", INSTALL_JAVA) from exc
    return done.stderr if done.returncode == 0 else ""
