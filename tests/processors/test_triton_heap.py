"""Freed memory is kept for the next batch."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
from resource import RUSAGE_SELF, getrusage
from processors.triton.heap import keep_freed_memory

def fault(rounds):
    before = getrusage(RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        request = b"".join((b"head", windows))
        copy = b"".join((b"frame", request))
        del request, copy
    return getrusage(RUSAGE_SELF).ru_minflt - before

windows = bytes(1_024_000)
keep_freed_memory()
fault(10)
print(fault(100))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_the_memory_of_a_request_is_not_mapped_anew_for_the_next() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 100, "a request and its copy are 500 pages"
