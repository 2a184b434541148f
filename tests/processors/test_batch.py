import numpy as np
import pytest

from processors.batch import Batcher, BatchSettings
from schemas.errors import ConfigurationError
from tests.processors.logs import Pcm


def pcm(value: int) -> Pcm:
    return np.full(4, value, np.int16)


def batcher(max_windows: int = 3, max_wait_ms: float = 10) -> Batcher[str]:
    return Batcher(BatchSettings(max_windows=max_windows, max_wait_ms=max_wait_ms))


def test_nothing_is_due_while_nothing_waits() -> None:
    empty = batcher()
    assert empty.due_s() is None
    assert empty.take(1e9) is None


def test_a_batch_is_due_when_its_oldest_window_has_waited() -> None:
    waiting = batcher()
    waiting.feed("a", pcm(1), 5.0)
    waiting.feed("b", pcm(2), 5.009)
    assert waiting.due_s() == pytest.approx(5.010)
    assert waiting.take(5.0099) is None
    batch = waiting.take(5.010)
    assert batch is not None
    assert (batch.items, batch.oldest_s) == (["a", "b"], 5.0)
    assert batch.pcm.tolist() == [[1] * 4, [2] * 4]
    assert batch.pcm.dtype == np.int16
    assert waiting.due_s() is None


def test_a_full_batch_is_due_at_once() -> None:
    waiting = batcher()
    for n, item in enumerate("abc"):
        waiting.feed(item, pcm(n), 5.0 + n / 1000)
    assert waiting.due_s() == 5.0
    batch = waiting.take(5.002)
    assert batch is not None
    assert batch.items == ["a", "b", "c"]


def test_more_than_a_batch_is_taken_in_order_and_the_rest_waits_for_company() -> None:
    waiting = batcher()
    for n, item in enumerate("abcdefg"):
        waiting.feed(item, pcm(n), float(n))
    batches = [waiting.take(6.0), waiting.take(6.0), waiting.take(6.0)]
    assert [batch.items if batch else None for batch in batches] == [list("abc"), list("def"), None]
    assert len(waiting) == 1
    assert waiting.due_s() == pytest.approx(6.010)


def test_without_waiting_a_window_is_due_when_it_comes() -> None:
    waiting = batcher(max_wait_ms=0)
    waiting.feed("a", pcm(1), 5.0)
    assert waiting.take(5.0) is not None


def test_reset_forgets_what_waits() -> None:
    waiting = batcher()
    waiting.feed("a", pcm(1), 5.0)
    waiting.reset()
    assert len(waiting) == 0
    assert waiting.due_s() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_windows": 0}, "batch.max_windows is 0; accepted: 1 to 4096"),
        ({"max_windows": 4097}, "batch.max_windows is 4097; accepted: 1 to 4096"),
        ({"max_wait_ms": -1}, "batch.max_wait_ms is -1; accepted: 0 to 1000"),
        ({"max_wait_ms": float("nan")}, "batch.max_wait_ms is nan; accepted: 0 to 1000"),
        (
            {"max_windows": 32, "max_backlog_windows": 31},
            "batch.max_backlog_windows is 31; accepted: at least batch.max_windows",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name_value_and_what_is_accepted(
    settings: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        BatchSettings(**settings)
    assert str(refused.value) == message


def test_in_order_nothing_is_given_up() -> None:
    waiting = batcher()
    waiting.feed("a", pcm(1), 5.0)
    assert (waiting.shed(1e18, 0), len(waiting), waiting.share) == ([], 1, 1.0)
