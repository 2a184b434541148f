"""A training <-> a folder: weights, their average, the optimiser's moments, and how far it has come.

Everything is kept as safetensors, which holds tensors and text and nothing that could run.
"""

import json
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

STATE, NETWORK = "state.safetensors", "network.safetensors"


class Told(TypedDict):
    """How far a training has come."""

    step: int
    losses: list[float]
    validation: list[float]
    hard: list[int]
    """Which empty windows are learnt again at present."""


def save(
    folder: Path, student: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, told: Told
) -> None:
    """Keep a training; one that is interrupted while it is kept leaves the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"student.{name}": value for name, value in student.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(v) for name, v in moments.items()}
    beside = folder / f"{STATE}.new"
    metadata = {"told": json.dumps(told)}
    save_file({name: value.cpu().contiguous().clone() for name, value in tensors.items()}, beside, metadata)
    beside.replace(folder / STATE)


def restore(
    folder: Path, student: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> Told | None:
    """Put a training that was kept back, and say how far it had come; None where there is none."""
    file = folder / STATE
    if not file.is_file():
        return None
    tensors = load_file(file)
    student.load_state_dict(_under(tensors, "student"))
    average.load_state_dict(_under(tensors, "average"))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimiser").items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return _told(file)


def restore_average(folder: Path, student: nn.Module) -> None:
    """Put the averaged weights of a training that was kept into a student of the same shape."""
    student.load_state_dict(_under(_under(load_file(folder / STATE), "average"), "module"))


def save_network(network: nn.Module, folder: Path) -> None:
    """Keep the weights of a network that is trained."""
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / NETWORK)


def restore_network(network: nn.Module, folder: Path) -> None:
    """Put weights back that `save_network` kept."""
    network.load_state_dict(load_file(folder / NETWORK))
    network.eval()


def _told(file: Path) -> Told:
    with safe_open(file, "pt") as opened:
        told: Told = json.loads(opened.metadata()["told"])
    return told


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): v for name, v in tensors.items() if name.startswith(f"{prefix}.")
    }
