"""Triton's traces of calls, and when the client began and ended them -> where their time went.

    client ├ turn ┤├ send ────────┤                              ├ receive ┤
    server                        ├ queue ┤├ in, model, out ─────┤
                             QUEUE_START  COMPUTE_START    INFER_RESPONSE_COMPLETE

COMPUTE_END comes later: the python backend may tidy up while the client has its answer already.
Both use the monotonic clock. Traces do not say whose call they are of, so means are subtracted, not times.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

POINTS = ("QUEUE_START", "COMPUTE_START", "INFER_RESPONSE_COMPLETE")


def options(file: Path) -> list[str]:
    """Return the arguments of a tritonserver that writes a trace of every request, when it ends."""
    given = ("mode=triton", f"triton,file={file}", "rate=1", "count=-1", "level=TIMESTAMPS")
    return [f"--trace-config={each}" for each in given]


def read_traces(file: Path) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return when each request reached each of POINTS, int64[n, 3], ns."""
    found: dict[int, dict[str, int]] = {}
    for part in json.loads(file.read_text()):
        for stamp in part.get("timestamps", ()):
            found.setdefault(part["id"], {})[stamp["name"]] = stamp["ns"]
    whole = [stamps for stamps in found.values() if set(POINTS) <= set(stamps)]
    return np.array([[stamps[point] for point in POINTS] for stamps in whole])


def split_us(found: dict[str, Any], traces: "np.ndarray[Any, np.dtype[np.int64]]") -> dict[str, float]:
    """Return the mean time that calls of `through_scorer` spent in each part, in us."""
    calls = np.array(found["calls_ns"])
    since_ns, until_ns = calls.min(), calls.max()
    served = traces[(traces[:, 0] > since_ns) & (traces[:, 0] < until_ns)]
    assert len(served) == len(calls)
    points_us = [(column - since_ns).mean() / 1000 for column in (*served.T, *calls.T)]
    queued_us, computing_us, computed_us, began_us, ended_us = (float(point) for point in points_us)
    turn_us = float(np.diff(calls[slice(*found["measured"])], axis=1).mean()) / 1000 - found["call_us"]
    return {
        "client queue": turn_us,
        "send": queued_us - began_us - turn_us,
        "server queue": computing_us - queued_us,
        "compute": computed_us - computing_us,
        "receive": ended_us - computed_us,
    }
