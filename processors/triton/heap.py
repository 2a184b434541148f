"""Keep freed memory, so that the next batch does not have it mapped anew.

A request of 32 windows is 1 MB, and gRPC copies it: glibc hands such memory back to the kernel when it is
freed, and takes it again for the next call. These 470 page faults were half of what a lone call cost.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = LARGEST_BYTES = 32 << 20
"""How much free memory stays at the heap's end, and what is taken from the heap; glibc allows no more."""


def keep_freed_memory() -> None:
    """Set this for the whole process; other C libraries than glibc are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, LARGEST_BYTES)
