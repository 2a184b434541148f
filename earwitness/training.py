"""A training that runs -> what whoever waits for it sees: a bar for each thing that is done."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.train import Say, Trained, train
from models.train_settings import TrainSettings


def train_with_progress(settings: TrainSettings) -> list[Trained]:
    """Train with a bar for each thing that is done.

    Raises:
        ConfigurationError: as `models.train.train`.

    """
    with progress_of(Console(stderr=True)) as say:
        return train(settings, say)


@contextmanager
def progress_of(console: Console) -> Iterator[Say]:
    """Show a bar for everything that is said to be done, with its loss where it has one."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, TextColumn("{task.fields[loss]}"), console=console) as progress:

        def say(name: str, done: int, total: int, loss: float) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total, loss="")
            shown = "" if loss != loss else f"loss {loss:.2f}"
            progress.update(bars[name], completed=done, loss=shown)

        yield say
