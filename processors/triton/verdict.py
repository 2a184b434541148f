"""An error of a call -> what it means for the batch and for the endpoint.

What Triton 2.51 says, tried out with the python backend:

| what happened                      | status            | Triton's words (shortened)                      |
|------------------------------------|-------------------|-------------------------------------------------|
| model or version unknown           | NOT_FOUND         | Request for unknown model: 'm' is not found     |
| readiness of an unknown model      | OK, ready: false  |                                                 |
| model is unloaded or loads         | UNAVAILABLE       | 'm' version 1 is not at ready state             |
| shape, type, names, batch too large| INVALID_ARGUMENT  | unexpected shape for input … Expected …, got …  |
| fewer bytes than the shape says    | INVALID_ARGUMENT  | input byte size mismatch                        |
| the model's code raised            | INTERNAL          | Failed to process the request(s) for model …    |
| the model answered with an error   | INTERNAL          | its own words                                   |
| the backend's process was killed   | INTERNAL          | Stub process … is not healthy: after 1 s, and   |
|                                    |                   | the model stays "ready"                         |
| queue full                         | UNAVAILABLE       | Exceeds maximum queue size                      |
| waited in the queue for too long   | UNAVAILABLE       | Request timeout expired                         |
| shared memory it does not know     | NOT_FOUND         | Unable to find shared memory region             |
| shared memory it cannot open       | INTERNAL          | Unable to open shared memory region             |
| server killed, or not there        | UNAVAILABLE       | Connection reset, errors resolving …            |
| frozen                             | DEADLINE_EXCEEDED | (from our side)                                 |

INTERNAL alone does not say whose fault it was, the batch's, its company's or the endpoint's, nor does
INVALID_ARGUMENT after a model was exchanged: such a batch is suspect. As much silence is
tried, and somebody else, before judging it.
"""

from enum import Enum

import grpc

from processors.triton.admission import EjectedError

_AWAY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}
_BUSY_WORDS = ("maximum queue size", "timeout expired")
_TOO_LARGE = "larger than max"


class Verdict(Enum):
    """What to do about an error."""

    LATE = "late"
    """No answer in time: eject the endpoint, try elsewhere, and wait longer."""
    AWAY = "away"
    """Eject the endpoint, and try elsewhere."""
    BUSY = "busy"
    """Wait a little, and try again."""
    SUSPECT = "failed"
    """The batch or the endpoint is bad: find out which."""


def verdict_of(error: Exception) -> Verdict:
    """Judge a call that failed; what is neither a status nor an ejection is an answer that does not fit."""
    if isinstance(error, EjectedError):
        return Verdict.AWAY
    if not isinstance(error, grpc.RpcError):
        return Verdict.SUSPECT
    code, words = error.code(), error.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Verdict.LATE
    if code is grpc.StatusCode.UNAVAILABLE and any(busy in words for busy in _BUSY_WORDS):
        return Verdict.BUSY
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE not in words:
        return Verdict.BUSY
    return Verdict.AWAY if code in _AWAY else Verdict.SUSPECT


def words_of(error: Exception) -> str:
    """Say what went wrong, in one line."""
    if not isinstance(error, grpc.RpcError):
        return str(error)
    details = " ".join((error.details() or "").split())
    return f"{error.code().name}: {details[:300]}"
