"""A recording is guessed among the table's labels; negatives have no part in it."""

from earwitness.evaluation.clips import Clip, accuracy, clip_figures
from tests.earwitness.evaluation.made import heard

DOG, RAIN = heard([0.9], [0.2]), heard([0.1], [0.8])


def test_right_and_wrong_guesses_are_counted_by_label() -> None:
    clips = [Clip("a", "dog", DOG), Clip("b", "dog", RAIN), Clip("c", "rain", RAIN)]
    figures = clip_figures(clips)
    assert (figures.accuracy.right, figures.accuracy.all) == (2, 3)
    assert figures.confusion == ((1, 1), (0, 1))
    assert figures.wrong == (("b", "dog", "rain"),)
    rain = figures.by_label["rain"]
    assert (rain.precision, rain.recall, rain.f1) == (0.5, 1.0, 2 / 3)


def test_a_guess_is_never_a_label_that_the_table_does_not_have() -> None:
    figures = clip_figures([Clip("a", "dog", RAIN)])
    assert figures.labels == ("dog",)
    assert figures.accuracy.value == 1.0


def test_recordings_of_a_label_that_the_model_does_not_know_are_no_guesses() -> None:
    figures = clip_figures([Clip("a", "dog", DOG), Clip("n", "speech", RAIN)])
    assert (figures.labels, figures.accuracy.all) == (("dog",), 1)


def test_a_recording_of_which_nothing_was_scored_is_a_wrong_guess() -> None:
    nan = float("nan")
    figures = clip_figures([Clip("a", "dog", DOG), Clip("b", "dog", heard([nan], [nan], [nan]))])
    assert (figures.accuracy.value, figures.unheard) == (0.5, 1)
    assert figures.wrong == (("b", "dog", None),)


def test_without_a_known_recording_there_is_no_accuracy() -> None:
    assert clip_figures([Clip("n", "speech", DOG)]).accuracy.value is None


def test_labels_that_the_model_does_not_know_are_counted() -> None:
    figures = clip_figures([Clip(str(at), label, DOG) for at, label in enumerate(("Dog", "dog", "Dog", "a"))])
    assert figures.unknown == {"Dog": 2, "a": 1}


def test_a_part_of_a_table_is_guessed_among_the_labels_of_all_of_it() -> None:
    part = [Clip("a", "dog", RAIN)]
    assert (accuracy(part).value, accuracy(part, ("dog", "rain")).value) == (1.0, 0.0)
