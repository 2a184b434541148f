"""Python packages -> NVIDIA Triton and its load generator, in a cache directory that all checkouts share.

<cache>/triton/<digest of what decides>/
    server/                         complete as soon as it has this name
        pytriton/tritonserver/      the server and its python backend, from NVIDIA's wheel
        nvidia_pytriton.libs/       their libraries, which they find relative to themselves
        runtime/                    the environment of every model.py: NumPy, this environment's ONNX Runtime
        perf_analyzer/              the load generator, and links to the libraries that it asks for

pip fetches, so its configuration says from where; every file is checked against a pinned hash. Nothing is
installed: the wheels are only unpacked. ONNX Runtime is copied from the environment that this runs in, so
that Triton's scores are those of the process to the bit.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from infra.local.debian import Program
from infra.local.errors import MissingToolError, ServerStartError
from infra.local.installation import cache_directory, digest, locked

REQUIREMENTS = Path(__file__).with_name("triton-requirements.txt")
LAYOUT = "1"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
INTERPRETER = Path(sys.base_prefix) / "bin" / f"python{PYTHON}"
"""The one that this environment was made from: Triton is to outlive the environment."""
OLDEST_GLIBC = (2, 35)
RUN_TIMEOUT_S = 600
ELSEWHERE = "NVIDIA's packages run nowhere else; use a Triton on another machine, or NVIDIA's container image"
INSTALL_LIBPYTHON = (
    f"Triton's models need it; install it (Debian and Ubuntu: `apt-get install libpython{PYTHON}`), or make "
    "the environment with a Python that was built with --enable-shared"
)
PERF_LIBRARIES = ("libb64.so.0d", "libcudart.so.12", "libssl.so.3", "libcrypto.so.3")


@dataclass(frozen=True, slots=True)
class TritonInstallation:
    """A Triton that can be started, and the folder with the Python library that its models run in."""

    home: Path
    libpython: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the server, and by it the processes that models run in, have to find in their environment.

        Those embed a Python that heeds no variable of Python's, only where the path's python3 belongs to.
        """
        folders = {"LD_LIBRARY_PATH": self.libpython, "PATH": self.home / "runtime/bin"}
        given = {name: os.environ.get(name) for name in folders}
        return {
            name: os.pathsep.join([str(folder), *([before] if (before := given[name]) else [])])
            for name, folder in folders.items()
        }

    @property
    def perf_analyzer(self) -> Program:
        """NVIDIA's load generator."""
        folder = self.home / "perf_analyzer"
        # The links' targets name further libraries, which lie beside them.
        return Program(folder / "perf_analyzer", (folder, self.home / "nvidia_pytriton.libs"))

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs the server."""
        triton = self.home / "pytriton/tritonserver"
        backends = f"--backend-directory={triton / 'backends'}"
        return [str(triton / "bin/tritonserver"), backends, *arguments]


def install_triton() -> TritonInstallation:
    """Fetch Triton unless it is there already; processes that do so at once wait for the first.

    Raises:
        MissingToolError: it cannot run on this machine, or this Python lacks what it needs.
        ServerStartError: the packages could not be fetched.

    """
    runtime = _distribution("onnxruntime")
    decides = f"{LAYOUT} {sys.base_prefix} {PYTHON} {runtime.version} ".encode() + REQUIREMENTS.read_bytes()
    home = cache_directory() / "triton" / digest(decides)
    server = home / "server"
    if not server.exists():
        check_platform(platform.system(), platform.machine(), platform.libc_ver())
        find_libpython()
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "install.lock"):
            if not server.exists():
                _install(server, runtime.folder)
    return TritonInstallation(server, find_libpython())


def check_platform(system: str, machine: str, libc: tuple[str, str]) -> None:
    """Check that NVIDIA's packages run here; `libc` is its name and version.

    Raises:
        MissingToolError: they do not.

    """
    name, version = libc
    known = (system, machine, name) == ("Linux", "x86_64", "glibc")
    if known and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_GLIBC:
        return
    found = f"not {system} on {machine} with {name or 'an unknown C library'} {version}".rstrip()
    raise MissingToolError(f"Linux on x86_64 with glibc 2.35 or newer ({found})", ELSEWHERE)


def find_libpython(folders: Iterable[Path] | None = None) -> Path:
    """Return the folder that holds the shared library of this Python; `folders` to look in, if not the usual.

    Raises:
        MissingToolError: there is none.

    """
    name = f"libpython{PYTHON}.so.1.0"
    for folder in _library_folders() if folders is None else folders:
        if (folder / name).exists():
            return folder
    raise MissingToolError(name, INSTALL_LIBPYTHON)


def _library_folders() -> list[Path]:
    # Debian's Python names the first but keeps it in the second; one that was moved only has the third.
    base = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    return [base, base / (sysconfig.get_config_var("MULTIARCH") or ""), Path(sys.base_prefix) / "lib"]


@dataclass(frozen=True, slots=True)
class _Package:
    version: str
    folder: Path


def _distribution(name: str) -> _Package:
    """Find an installed package without importing it, which would take longer than all else."""
    try:
        found = distribution(name)
    except PackageNotFoundError as exc:
        raise MissingToolError(name, "`make environment` installs it") from exc
    return _Package(found.version, Path(str(found.locate_file(name))))


def _install(server: Path, onnxruntime: Path) -> None:
    with tempfile.TemporaryDirectory(dir=server.parent) as scratch:
        wheels, made = _download(Path(scratch)), Path(scratch) / "server"
        _unpack(wheels, "nvidia_pytriton", made, "pytriton/tritonserver/", "nvidia_pytriton.libs/")
        _make_runtime(wheels, onnxruntime, made / "runtime")
        _finish_server(made / "pytriton/tritonserver")
        _finish_perf_analyzer(wheels, made)
        made.rename(server)


def _download(scratch: Path) -> Path:
    """Fetch the wheels with a pip of our own: not every environment has one."""
    wheels = scratch / "wheels"
    try:
        _run([str(INTERPRETER), "-I", "-m", "venv", str(scratch / "pip")])
    except ServerStartError as exc:
        install = f"it fetches Triton (Debian and Ubuntu: `apt-get install python{PYTHON}-venv`); {exc}"
        raise MissingToolError(f"{INTERPRETER} with its module venv", install) from exc
    fetch = ["download", "--require-hashes", "--no-deps", "--only-binary=:all:", "--dest", str(wheels)]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    _run(
        [
            str(scratch / "pip/bin/python"),
            "-I",
            "-m",
            "pip",
            *fetch,
            *quiet,
            "--requirement",
            str(REQUIREMENTS),
        ]
    )
    return wheels


def _unpack(wheels: Path, name: str, into: Path, *members: str) -> None:
    (wheel,) = wheels.glob(f"{name}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into, [each for each in archive.namelist() if each.startswith(members)])


def _finish_server(triton: Path) -> None:
    """Put the process that runs models of this Python where the python backend looks for it."""
    stub = triton / "backends/python/triton_python_backend_stub"
    (triton / "python_backend_stubs" / PYTHON / stub.name).rename(stub)
    shutil.rmtree(triton / "python_backend_stubs")
    for program in (stub, triton / "bin/tritonserver"):
        program.chmod(0o755)


def _finish_perf_analyzer(wheels: Path, made: Path) -> None:
    """Give the load generator the libraries of the server, under the names that it asks for."""
    folder = made / "perf_analyzer"
    folder.mkdir()
    _unpack(wheels, "tritonclient", folder, "tritonclient-2.44.0.data/data/bin/perf_analyzer")
    (folder / "tritonclient-2.44.0.data/data/bin/perf_analyzer").rename(folder / "perf_analyzer")
    shutil.rmtree(folder / "tritonclient-2.44.0.data")
    (folder / "perf_analyzer").chmod(0o755)
    for name in PERF_LIBRARIES:
        stem, version = name.split(".so")
        (library,) = (made / "nvidia_pytriton.libs").glob(f"{stem}-*.so{version}*")
        (folder / name).symlink_to(Path("..") / library.parent.name / library.name)


def _make_runtime(wheels: Path, onnxruntime: Path, runtime: Path) -> None:
    _run([str(INTERPRETER), "-I", "-m", "venv", "--without-pip", str(runtime)])
    packages = runtime / "lib" / f"python{PYTHON}" / "site-packages"
    _unpack(wheels, "numpy", packages, "numpy/", "numpy.libs/")
    shutil.copytree(onnxruntime, packages / "onnxruntime")
    # So that it works, and that its bytecode lies there for later starts.
    _run([str(runtime / "bin/python3"), "-I", "-c", "import numpy, onnxruntime"])
    # Else every model.py leaves a __pycache__ in its repository.
    (packages / "no-bytecode.pth").write_text("import sys; sys.dont_write_bytecode = True\n", "utf-8")


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - this Python's own modules, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_TIMEOUT_S,
        )
    except OSError as exc:
        raise ServerStartError(command[0], f"is not on this machine: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise ServerStartError(command[0], f"took more than {RUN_TIMEOUT_S} s to make Triton ready") from exc
    if done.returncode != 0:
        step = " ".join(command[2:5])
        raise ServerStartError(
            "Triton", f"could not be fetched: {step} failed ({done.returncode})", done.stdout
        )
