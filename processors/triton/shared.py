"""Batches and scores in memory that a Triton on this machine reads and writes in place.

A slot is a region of its own, for one batch and its scores:

    | input: dtype[max_batch, window_samples] | output: float32[max_batch, labels] |

Its name in /dev/shm goes as soon as Triton has mapped it: both mappings stay, and a worker that is killed
leaves no file behind. Triton's own mapping stays until it is unregistered or Triton ends; so names carry the
worker's token, and whoever comes next unregisters those whose owner no longer holds the lock of its token.

A slot whose call did not end with an answer is given up, never used again: a frozen server may yet wake and
read or write it. CUDA shared memory is not offered: windows are made in host memory, so a worker would need a
CUDA context (some 300 MB on the GPU for each) only to make the very copy that Triton makes itself.
"""

import fcntl
import mmap
import os
import re
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives; names are made exclusively
_OURS = re.compile(r"(earwitness-[0-9a-f]{32})(-[0-9]+)?")
_PAGE = mmap.PAGESIZE


class Owner:
    """Names regions, holds a lock for as long as this process lives, and clears what killed ones left.

    Raises:
        OSError: there is no POSIX shared memory here.

    """

    def __init__(self) -> None:
        self._token, self._made = f"earwitness-{uuid.uuid4().hex}", 0
        _sweep()
        beside = (
            FOLDER / f".{self._token}"
        )  # it is locked when it gets its name: nobody takes it for an orphan
        self._lock = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        beside.rename(FOLDER / self._token)

    def name(self) -> str:
        """Return a name that no region ever had."""
        self._made += 1
        return f"{self._token}-{self._made}"

    def close(self) -> None:
        """Let go of the lock."""
        (FOLDER / self._token).unlink(missing_ok=True)
        os.close(self._lock)


class Slot:
    """One region: `input` is written before a call, `output` read after it.

    Raises:
        OSError: no memory is left for it.

    """

    def __init__(self, name: str, batch: int, dtype: DTypeLike, window: int, labels: int) -> None:
        self.name, input_bytes = name, batch * window * np.dtype(dtype).itemsize
        self.output_at = -(-input_bytes // _PAGE) * _PAGE
        self.size = self.output_at + batch * labels * 4
        self._memory = _mapped(FOLDER / name, self.size)
        self.input: NDArray[np.generic] = _view(self._memory, dtype, (batch, window), 0)
        self.output: NDArray[np.float32] = _view(self._memory, np.float32, (batch, labels), self.output_at)

    def unlink(self) -> None:
        """Take the name away; the memory goes with the last mapping."""
        (FOLDER / self.name).unlink(missing_ok=True)


def orphans(names: list[str]) -> list[str]:
    """Return those names, of a Triton's regions or of files, that are of workers which are gone."""
    found = [(name, match[1]) for name in names if (match := _OURS.fullmatch(name))]
    gone = {token for token in {token for _, token in found} if _is_gone(token)}
    return [name for name, token in found if token in gone]


def _sweep() -> None:
    for name in orphans(os.listdir(FOLDER)):
        with suppress(PermissionError):  # another user's: it is theirs to clear
            (FOLDER / name).unlink(missing_ok=True)


def _is_gone(token: str) -> bool:
    # Whoever sees a name shares this /dev/shm with its owner: no file means no owner.
    try:
        lock = os.open(FOLDER / token, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        (FOLDER / token).unlink(missing_ok=True)
        return True
    finally:
        os.close(lock)


def _mapped(path: Path, size: int) -> mmap.mmap:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(file, 0, size)  # or the first write to a full /dev/shm would be a SIGBUS
        return mmap.mmap(file, size)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def _view(memory: mmap.mmap, dtype: DTypeLike, shape: tuple[int, int], at: int) -> NDArray[Any]:
    return np.ndarray(shape, dtype, buffer=memory, offset=at)
