"""sed_scores_eval, the field's own library for sound event detection: loaded where it is needed, quietly.

J. Ebbers, R. Serizel and R. Haeb-Umbach, "Threshold-independent evaluation of sound event detection scores",
ICASSP 2022. Scores are data frames with a row for every stretch of time, and truth is lists of events.
"""

import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pandas import DataFrame

Truth = Mapping[str, Sequence[tuple[float, float, str]]]
"""By a stream's name: `(start_s, end_s, label)`."""


def collar_based() -> ModuleType:
    """Return the metrics that ask when an event begins and ends."""
    return _loaded("collar_based")


def intersection_based() -> ModuleType:
    """Return the metrics that ask how much of an event is found, PSDS among them."""
    return _loaded("intersection_based")


def frame(times: NDArray[np.float64], columns: Mapping[str, NDArray[np.floating]]) -> "DataFrame":
    """Return scores, `[T]` a label, of the stretches between `times`, `float64[T + 1]`."""
    from pandas import DataFrame

    return DataFrame({"onset": times[:-1], "offset": times[1:], **columns})


def _loaded(name: str) -> ModuleType:
    from importlib import import_module

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dcase_util, which it imports, warns of pkg_resources
        try:
            return import_module(f"sed_scores_eval.{name}")
        except ImportError as exc:
            accepted = "an environment with sed-scores-eval: pip install 'earwitness[models]'"
            raise ConfigurationError("evaluate", "sed_scores_eval is missing", accepted) from exc
