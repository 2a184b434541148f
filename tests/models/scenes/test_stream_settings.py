"""Settings that give no stream are refused."""

from typing import Any

import pytest

from models.scenes.stream_settings import StreamSettings
from schemas.errors import ConfigurationError


@pytest.mark.parametrize(
    "wrong", [{"length_s": 1.0}, {"events": (0, 3)}, {"snr_db": (5.0, 0.0)}, {"overlapping": 2.0}]
)
def test_settings_that_give_no_stream_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"streams.{next(iter(wrong))}"):
        StreamSettings(**wrong)
