"""A spec and what was tried -> CARD.md of an imported model: what is known of it, and what is not."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import onnxruntime

if TYPE_CHECKING:
    from earwitness.import_checks import Checked
    from schemas.model import ModelSpec

LISTED = 60
"""Labels; the spec has all of them."""


def card_text(
    spec: "ModelSpec",
    source: str,
    names: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    checked: "Checked",
) -> str:
    """Write the card; `names` are the model's own labels, `groups` the members of ours."""
    parts = (_head(spec, source), _tensors(spec, names), _rules(spec, groups), _tried(checked))
    return "\n".join(parts)


def _head(spec: "ModelSpec", source: str) -> str:
    return (
        f"# {spec.reference}\n\n"
        f"A model that somebody else made, imported from `{source}` as it was.\n\n"
        f"- SHA-256 of the file: `{spec.digest}`\n- Licence: {spec.licence}\n\n"
        "Nothing is known here of what it was trained on, nor how often it is wrong: "
        "evaluate it on recordings of your own before you rely on it.\n"
    )


def _tensors(spec: "ModelSpec", names: Sequence[str]) -> str:
    fed, rows = spec.input, spec.input.batch or "B"
    shape = f"[{spec.window_samples}]" if fed.rank == 1 else f"[{rows}, {spec.window_samples}]"
    scaled = f", PCM times {fed.scale:g}" if fed.dtype == "float32" else ""
    return (
        "## In and out\n\n"
        f"- `{fed.name}`: {fed.dtype}{shape}{scaled}; {spec.sample_rate_hz} Hz, "
        f"a window of {spec.window_s:g} s every {spec.hop_s:g} s\n"
        f"- `{spec.output.name}`: float32[{rows}, {spec.raw_width}], activation {spec.output.activation}; "
        f"the file names {len(names)} labels, {len(spec.labels)} are reported\n"
    )


def _rules(spec: "ModelSpec", groups: Mapping[str, Sequence[str]]) -> str:
    made = {label: "; ".join(groups.get(label, ("itself",))) for label in spec.labels}
    lines = [
        f"| {_cell(label)} | {spec.thresholds[label]:g} | {_cell(made[label])} |" for label in spec.labels
    ]
    more = f"\nAnd {len(lines) - LISTED} more, in spec.json.\n" if len(lines) > LISTED else ""
    return (
        "## Labels\n\n"
        f"Active where {spec.m} of {spec.n} windows reach the threshold; a group's score is the highest "
        "of its members'. Thresholds were set by hand, not chosen on data.\n\n"
        "| label | threshold | made of |\n|---|---|---|\n" + "\n".join(lines[:LISTED]) + f"\n{more}"
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _tried(checked: "Checked") -> str:
    lines = [*checked.passed, *(f"Warning: {warning}." for warning in checked.warnings)]
    listed = "\n".join(f"- {line}" for line in lines)
    runtime = f"With ONNX Runtime {onnxruntime.__version__} on the CPU."
    return f"## Tried when it was imported\n\n{runtime}\n\n{listed}\n"
