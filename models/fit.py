"""lesson -> network: the training loop, which can be stopped at any step and goes on where it was.

A third of a batch are recordings mixed anew in every step, half are windows of the pool with what the teacher
makes of them, and the rest are empty windows that the network itself has last taken for something; one more
is silent. What a step draws follows from the seed, the step's number, and what was last mined.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models import checkpoint
from models.augment import augment, colour, punch_holes
from models.bank import Bank, Batch
from models.features import log_mel
from models.hard_negatives import HardNegatives, together
from models.losses import label_loss, teacher_loss
from models.network import LAYERS, Layer, Network
from models.opinions import Opinions, Taught

Tick = Callable[[int, float], None]
"""Told the number of steps that are done and the last one's loss."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How long and how fast one network is trained."""

    steps: int = 5000
    batch: int = 96
    pool_share: float = 0.5
    """Of a batch: windows of the pool."""
    hard_share: float = 1 / 6
    """Of a batch: hard negatives; 0 for none."""
    mine_every: int = 250
    learning_rate: float = 2e-3
    warm_up: float = 0.05
    """Of the steps: the rate rises in a line, then falls along a cosine."""
    weight_decay: float = 0.02
    averaging: float = 0.999
    """Share of the running average of the weights that one step keeps: the average is the result."""
    longest_gradient: float = 5.0
    smoothing: float = 0.1
    pool_weight: float = 1.0
    scores_weight: float = 0.1
    embedding_weight: float = 2.0
    save_every: int = 250
    patience: int = 4
    """Looks at the validation fold, one every `save_every` steps, that may bring nothing before it ends."""
    bfloat16: bool = False
    """Compute the network in bfloat16: nearly twice as fast on processors that have it, else slower."""
    layers: tuple[Layer, ...] = LAYERS


@dataclass(frozen=True, slots=True)
class Lesson:
    """All that one network may hear, and what it is to make of it."""

    bank: Bank | None
    """Recordings to mix anew in every step; without, all is from the pool."""
    opinions: Opinions
    classes: int
    """The first so many labels exclude each other."""
    validation: Opinions | None = None
    empty: tuple[Opinions, ...] = ()
    """More windows, of which those without any of the labels may be hard negatives, too."""


@dataclass(slots=True)
class Course:
    """How a training went: losses by step, and by look at the validation fold."""

    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)


class Student(nn.Module):
    """A network with the heads that only its training needs: the teacher's scores and inner values."""

    def __init__(self, labels: int, scores: int, embedding: int, layers: tuple[Layer, ...]) -> None:
        super().__init__()
        self.network = Network(labels, layers)
        width = 2 * layers[-1][0]
        self.scores = nn.Linear(width, scores)
        self.embedding = nn.Linear(width, embedding)
        nn.init.constant_(self.scores.bias, -6.0)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, the teacher's logits and its inner values."""
        inner = self.network.embed(features)
        flat = inner.flatten(1)
        return self.network.decide(inner), self.scores(flat), self.embedding(flat)


def repeat_exactly() -> None:
    """Make this process compute the same bits every time.

    The order of additions decides the last bits, and it follows the number of threads: one, then. CUDA's
    library asks for workspaces of a fixed size.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def fit(
    lesson: Lesson,
    settings: FitSettings,
    seed: int,
    tick: Tick,
    saved: Path | None = None,
    start: Path | None = None,
) -> tuple[Network, Course]:
    """Train a network; after `repeat_exactly`, always to the same weights, interrupted or not.

    `saved` is where it is kept every `save_every` steps; a training that is found there is gone on with.
    `start` is where an earlier training was kept, whose result this one begins with.
    """
    torch.manual_seed(seed)
    training = _Training(lesson, settings, seed)
    if start is not None:
        training.begin_with(start)
    if saved is not None:
        training.restore(saved)
    while training.step < settings.steps and not training.stalled:
        tick(training.step + 1, training.advance())
        if training.step % settings.save_every == 0 or training.step == settings.steps:
            training.look()
            if saved is not None:
                training.save(saved)
    return training.result(), training.course


class _Training:
    """The weights, the optimiser, and how far they have come."""

    def __init__(self, lesson: Lesson, settings: FitSettings, seed: int) -> None:
        pool = lesson.opinions.pool
        self._lesson, self._settings, self._seed = lesson, settings, seed
        sizes = pool.targets.shape[1], pool.scores.shape[1], pool.embedding.shape[1]
        self.student = Student(*sizes, settings.layers).to(memory_format=torch.channels_last)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.student.to(self.device)
        self.average = AveragedModel(self.student, avg_fn=_averaging(settings.averaging), use_buffers=True)
        self.optimiser = torch.optim.AdamW(
            self.student.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step, self.course = 0, Course()
        self.negatives = HardNegatives((lesson.opinions, *lesson.empty))

    @property
    def stalled(self) -> bool:
        """Tell whether the validation fold has not been better understood for long enough."""
        looks = self.course.validation
        return bool(looks) and len(looks) - 1 - int(np.argmin(looks)) >= self._settings.patience

    def advance(self) -> float:
        """Take one step and return its loss."""
        rng = np.random.default_rng([self._seed, self.step])
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.step)
        torch.manual_seed(self._seed * 1_000_003 + self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = self._settings.learning_rate * _rate(self.step, self._settings)
        if self._hard and self.step % self._settings.mine_every == 0:
            self._mine()
        self.student.train()
        loss = self._loss(rng, generator)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.student.parameters(), self._settings.longest_gradient)
        self.optimiser.step()
        self.average.update_parameters(self.student)
        self.step += 1
        self.course.losses.append(float(loss.detach()))
        return self.course.losses[-1]

    @property
    def _hard(self) -> int:
        """How many hard negatives are in a batch."""
        return round(self._settings.batch * self._settings.hard_share) if len(self.negatives) else 0

    def _mine(self) -> None:
        network, rng = self._averaged().network.eval(), np.random.default_rng([self._seed, self.step, 1])
        self.negatives.mine(network, rng, self.device, self._settings.bfloat16)

    def look(self) -> None:
        """Measure the loss of the average on the validation fold, where there is one."""
        held_back = self._lesson.validation
        if held_back is None:
            return
        with torch.inference_mode():
            features, targets, known = held_back.all_plain()
            logits = self._averaged().network.eval()(features.to(self.device)).cpu()
        self.course.validation.append(float(label_loss(logits, targets, known, self._lesson.classes, 0.0)))

    def result(self) -> Network:
        """Return the average, on the CPU, without the heads of training."""
        return self._averaged().network.cpu().eval()

    def save(self, saved: Path) -> None:
        """Keep everything that the next step depends on."""
        checkpoint.save(saved, self.student, self.average, self.optimiser, self._told())

    def begin_with(self, start: Path) -> None:
        """Begin with what another training made."""
        checkpoint.restore_average(start, self.student)
        checkpoint.restore_average(start, self._averaged())

    def restore(self, saved: Path) -> None:
        """Go on with what was kept, if anything was."""
        told = checkpoint.restore(saved, self.student, self.average, self.optimiser)
        if told is not None:
            self.step = told["step"]
            self.course = Course(told["losses"], told["validation"])
            self.negatives.places = np.array(told["hard"], np.int64)

    def _told(self) -> checkpoint.Told:
        hard = self.negatives.places.tolist() if self._hard else []
        return {
            "step": self.step,
            "losses": self.course.losses,
            "validation": self.course.validation,
            "hard": hard,
        }

    def _averaged(self) -> Student:
        student = self.average.module
        if not isinstance(student, Student):
            raise TypeError(f"the average of a Student is a {type(student).__name__}")
        return student

    def _loss(self, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        settings, lesson = self._settings, self._lesson
        hard = self._hard
        pooled = settings.batch - hard if lesson.bank is None else round(settings.batch * settings.pool_share)
        taught = lesson.opinions.draw(rng, pooled)
        if hard:
            taught = together([taught, self.negatives.draw(rng, hard)])
        count, heard = pooled + hard, [punch_holes(log_mel(colour(taught.power, generator, 2.0)), generator)]
        live = None
        if lesson.bank is not None:
            live = _live(lesson.bank, settings.batch - count, rng, generator)
            heard.append(punch_holes(log_mel(live.power), generator))
        logits, *others = self._said(torch.cat([*heard, torch.zeros_like(heard[0][:1])]))
        loss = self._taught((logits[:count], *(other[:count] for other in others)), taught)
        loss = loss + nn.functional.softplus(logits[-1]).sum()  # the last one is silent
        if live is None:
            return loss
        everything = torch.ones(len(live.targets), dtype=torch.bool)
        right = label_loss(logits[count:-1], live.targets, everything, lesson.classes, settings.smoothing)
        return loss + right

    def _said(self, features: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._settings.bfloat16):
            said = self.student(features.to(self.device).to(memory_format=torch.channels_last))
        return tuple(part.float().cpu() for part in said)

    def _taught(self, said: tuple[Tensor, ...], taught: Taught) -> Tensor:
        """Measure what was said of windows of the pool against the truth and the teacher."""
        settings, (logits, scores, embedding) = self._settings, said
        classes, smoothing = self._lesson.classes, settings.smoothing
        loss = settings.pool_weight * label_loss(
            logits, taught.targets, taught.known, classes, smoothing, taught.opinion
        )
        if self._lesson.opinions.pool.taught:
            loss = loss + settings.scores_weight * teacher_loss(scores, taught.scores)
            apart = (embedding - taught.embedding) ** 2
            loss = loss + settings.embedding_weight * apart.clamp(max=9.0).mean()
        return loss


def _live(bank: Bank, size: int, rng: np.random.Generator, generator: torch.Generator) -> Batch:
    return augment(bank.draw(rng, size), bank.draw_backgrounds(rng, size), generator)


def _rate(step: int, settings: FitSettings) -> float:
    """Return the share of the learning rate at a step."""
    done = step / settings.steps
    if done < settings.warm_up:
        return done / settings.warm_up + 0.02
    return 0.5 * (1 + math.cos(math.pi * (done - settings.warm_up) / (1 - settings.warm_up))) + 0.002


def _averaging(keep: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return a running average that forgets its first, untrained, values quickly."""

    def average(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        kept = min(keep, (1 + int(count)) / (20 + int(count)))
        return mean + (1 - kept) * (value - mean)

    return average
