"""Who has read all that was there when it began has caught up; between generations nobody has."""

from processors.partition import Start
from processors.pipeline import Pipeline
from processors.progress import Progress
from processors.run import Feed
from tests.processors.build import CODEC, KEY, decide, record, tick


def test_a_generation_has_caught_up_once_it_has_read_to_where_its_logs_ended() -> None:
    ends = {KEY: 2}
    progress, pipeline = Progress(ends.get), Pipeline(decide(), CODEC)
    pipeline.assign({KEY: Start(0, 0)})
    progress.begin(pipeline.partitions)
    assert not progress.caught_up()
    pipeline.feed(KEY, [record(0, 0, 0, 8)], Feed(0.0))
    ends[KEY] = 9
    assert not progress.caught_up()
    pipeline.feed(KEY, [tick(1, 5)], Feed(0.0))
    assert progress.caught_up()


def test_nobody_has_caught_up_between_generations_and_who_has_no_partitions_has() -> None:
    progress = Progress(lambda _: None)
    assert not progress.caught_up()
    progress.begin({})
    assert progress.caught_up()
    progress.begin(None)
    assert not progress.caught_up()


def test_a_log_whose_end_is_not_known_yet_is_not_caught_up_with() -> None:
    progress, pipeline = Progress(lambda _: None), Pipeline(decide(), CODEC)
    pipeline.assign({KEY: Start(0, 0)})
    progress.begin(pipeline.partitions)
    assert not progress.caught_up()
