"""model.tflite + windows.npy -> scores.npy: run by the Python that has TensorFlow, which need not be ours.

It imports nothing of ours, so that any environment can run it by its path.
"""

import sys
from importlib import import_module
from typing import Any

import numpy as np


def main(model: str, windows: str, scores: str) -> None:
    """Score windows `int16[W, samples]` one by one, and write `float32[W, labels]`."""
    interpreter = _interpreter(model)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for window in np.load(windows, allow_pickle=False):
        interpreter.set_tensor(given["index"], window[None].astype(given["dtype"]))
        interpreter.invoke()
        rows.append(np.array(interpreter.get_tensor(made["index"])).reshape(-1))
    np.save(scores, np.stack(rows), allow_pickle=False)


def _interpreter(model: str) -> Any:
    try:
        library = import_module("ai_edge_litert.interpreter")
    except ImportError:
        library = import_module("tensorflow").lite
    return library.Interpreter(model_path=model, num_threads=1)


if __name__ == "__main__":
    main(*sys.argv[1:4])
