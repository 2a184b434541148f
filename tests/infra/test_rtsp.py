"""The RTSP server that tests use is a real one: it can be heard, killed and started again on its port."""

from itertools import islice
from threading import Event

import pytest

from infra.local.errors import MissingToolError
from infra.local.rtsp import Payload, RtspServer, gstreamer, start_rtsp
from producers.sources.stream import Connection
from schemas.errors import CaptureError


@pytest.fixture(scope="module", autouse=True)
def needs_gstreamer() -> None:
    try:
        gstreamer()
    except MissingToolError as missing:
        pytest.skip(str(missing))


def heard(server: RtspServer, pieces: int = 20) -> tuple[int, int, int]:
    """Listen for a while; return rate, channels and how many samples came."""
    connection = Connection(server.url)
    try:
        came = list(islice(connection.pieces(None, Event()), pieces))
    finally:
        connection.close()
    return came[0].sample_rate_hz, came[0].block.shape[1], sum(len(piece.block) for piece in came)


@pytest.mark.parametrize(
    ("payload", "rate_hz", "channels"),
    [(Payload.L16, 16_000, 1), (Payload.PCMU, 8_000, 1), (Payload.AAC, 48_000, 2)],
)
def test_it_serves_sound_of_the_kind_that_was_asked_for(
    payload: Payload, rate_hz: int, channels: int
) -> None:
    with start_rtsp(payload, rate_hz, channels) as server:
        found_rate_hz, found_channels, samples = heard(server)
    assert (found_rate_hz, found_channels) == (rate_hz, channels)
    assert samples >= 20 * rate_hz // 50


def test_it_can_be_killed_and_started_again_at_its_address() -> None:
    with start_rtsp() as server:
        url = server.url
        heard(server)
        server.kill()
        with pytest.raises(CaptureError, match="refused"):
            Connection(url)
        server.start()
        assert server.url == url
        heard(server)
