import numpy as np
import pytest

from processors.decision import Decision, DecisionSettings
from schemas.errors import ConfigurationError
from tests.processors.build import decide


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segment_windows": 0}, "detect.segment_windows is 0; accepted: at least 1"),
        ({"max_missing_s": -0.1}, "detect.max_missing_s is -0.1; accepted: 0 or more"),
        ({"max_gap_s": 0}, "detect.max_gap_s is 0; accepted: more than 0, at most 60"),
        ({"max_gap_s": 61}, "detect.max_gap_s is 61; accepted: more than 0, at most 60"),
        ({"idle_s": 0}, "detect.idle_s is 0; accepted: more than 0"),
        ({"margin_s": -1}, "detect.margin_s is -1; accepted: 0 or more"),
        ({"idle_s": float("nan")}, "detect.idle_s is nan; accepted: more than 0"),
    ],
)
def test_rules_that_cannot_work_are_refused_by_name_value_and_what_is_accepted(
    settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        DecisionSettings(**settings)  # type: ignore[arg-type]
    assert str(refused.value) == message


def test_a_window_that_may_be_missing_altogether_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"max_missing_s is 0.008; accepted: less than a window, 0.008"
    ):
        decide(window=8, max_missing_s=0.008)


def read_out(members: tuple[tuple[int, ...], ...], width: int) -> Decision:
    """Return the usual decision, with labels that are made of columns."""
    usual = decide()
    columns = dict(zip(usual.spec.labels, members, strict=True))
    output = usual.spec.output.model_copy(update={"columns": columns, "width": width})
    return Decision(usual.spec.model_copy(update={"output": output}), usual.rules)


def own_m_of_n(m: int, n: int) -> Decision:
    """Return the usual decision, with an m and an n of the label's own."""
    usual = decide()
    own = {usual.spec.labels[0]: (m, n)}
    return Decision(usual.spec.model_copy(update={"m_of_n": own}), usual.rules)


CHANGED = [
    own_m_of_n(1, 1),
    own_m_of_n(1, 2),
    decide(rate_hz=2000, window=16),
    decide(window=9),
    decide(hop=3),
    decide(n=2),
    decide(m=2, n=2),
    decide(labels=("quiet",)),
    decide(threshold=0.6),
    decide(segment=21),
    decide(max_missing_s=0.001),
    decide(max_gap_s=0.2),
    decide(idle_s=0.13),
    read_out(((0,),), 2),
    read_out(((1,),), 2),
    read_out(((0, 1),), 2),
    read_out(((0,),), 3),
]


def test_whatever_decides_is_in_the_digest() -> None:
    digests = [decide().digest, *(decision.digest for decision in CHANGED)]
    assert len(set(digests)) == len(digests)


def test_the_same_decision_has_the_same_digest_in_every_process() -> None:
    assert (
        decide().digest
        == decide().digest
        == ("72e8bfd8bd67481ec0f92d27ee59a080c29e91e25078202b49d2137cd69c5a54")
    )


def test_how_far_clocks_step_back_decides_nothing() -> None:
    assert decide(margin_s=0.5).digest == decide().digest


def test_thresholds_are_in_the_order_of_the_labels() -> None:
    spec = decide(labels=("b", "a")).spec.model_copy(update={"thresholds": {"a": 0.25, "b": 0.75}})
    thresholds = Decision(spec, DecisionSettings(max_missing_s=0)).thresholds
    assert thresholds.tolist() == [0.75, 0.25]
    assert thresholds.dtype == np.float32
