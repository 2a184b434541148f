"""courses of trainings -> curves.png: the loss by step, smoothed, and on the validation fold."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.fit import Course

SMOOTHED_STEPS = 50


def draw_curves(courses: Mapping[str, Course], file: Path) -> None:
    """Draw a line for each training; fewer steps than are smoothed over become their mean."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name, course in courses.items():
        over = max(1, min(SMOOTHED_STEPS, len(course.losses)))
        smooth = np.convolve(course.losses or [np.nan], np.ones(over) / over, mode="valid")
        axes.plot(np.arange(smooth.size) + over, smooth, label=name, linewidth=1)
        if course.validation:
            at = np.linspace(0, len(course.losses), len(course.validation) + 1)[1:]
            axes.plot(at, course.validation, "o--", label=f"{name}, validation", markersize=3)
    axes.set(xlabel="step", ylabel=f"loss, mean of {SMOOTHED_STEPS} steps", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    FigureCanvasAgg(figure)
    figure.savefig(file)
