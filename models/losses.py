"""What a network said, what is true, what its teacher thinks -> how wrong it is."""

import torch
from torch import Tensor, nn


def label_loss(
    logits: Tensor,
    targets: Tensor,
    known: Tensor,
    classes: int,
    smoothing: float,
    opinion: Tensor | None = None,
) -> Tensor:
    """Measure logits `float32[B, labels]` against targets of that shape, where they are known, `bool[B]`.

    It asks for the right probability of each label, and for the right order of the classes.

    The second term is the cross entropy of the classes alone, over the windows that hold any of them, half
    of it against the teacher's opinion `float32[B, classes]`, where it has one: it leaves their common level
    to the first. The first so many labels are the classes.
    """
    each = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
    present = targets[:, :classes]
    some = (present.sum(dim=1) > 0) & known
    share = present / present.sum(dim=1, keepdim=True).clamp(min=1e-6)
    if opinion is not None:
        half = 0.5 * share + 0.5 * opinion
        share = torch.where(half.isfinite().all(dim=1, keepdim=True), half, share)
    share = share * (1 - smoothing) + smoothing / classes
    order = -(share * nn.functional.log_softmax(logits[:, :classes], dim=1)).sum(dim=1)
    return (each * known).sum() / known.sum().clamp(min=1) + (order * some).sum() / some.sum().clamp(min=1)


def teacher_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Measure logits against a teacher's scores, both `float32[B, scores]`: the cross entropy of each."""
    return nn.functional.binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(1).mean()
