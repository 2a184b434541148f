"""Prepared requests: what is the same in every call is serialised once, and windows are joined to it.

A protobuf message may be put together from parts: fields that follow each other are merged. So a call's bytes
are the prepared part, the tag and length of `raw_input_contents`, and the windows, copied once.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages

from processors.triton.shared import Slot
from schemas.model import ModelSpec

METHOD = "/inference.GRPCInferenceService/ModelInfer"
_RAW_INPUT = bytes([messages.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])


class UnfitAnswerError(Exception):
    """An answer is not float32[B, labels] of the output that was asked for."""


class Requests:
    """Makes the requests of one admission, and reads their answers."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._datatype = {"int16": "INT16", "float32": "FP32"}[spec.input.dtype]
        self._plain = cache(self._plain_part)  # as many as there are batch sizes

    def plain(self, values: NDArray[np.generic]) -> bytes:
        """Return the request that carries its windows, dtype[B, window_samples]."""
        values = np.ascontiguousarray(values)
        return b"".join((self._plain(len(values)), values.data))

    def in_place(self, slot: Slot, windows: int) -> bytes:
        """Return the request for the windows that are in a slot."""
        request = self._request(windows)
        row_bytes = slot.input.itemsize * slot.input.shape[1]
        _place(request.inputs[0].parameters, slot.name, 0, windows * row_bytes)
        _place(request.outputs[0].parameters, slot.name, slot.output_at, windows * slot.output.shape[1] * 4)
        return bytes(request.SerializeToString())

    def scores(self, answer: messages.ModelInferResponse, windows: int) -> NDArray[np.float32]:
        """Read the scores that an answer carries, float32[B, labels].

        Raises:
            UnfitAnswerError: it carries something else.

        """
        self.check_answer(answer, windows)
        shape, raw = (windows, self._spec.raw_width), answer.raw_output_contents
        if len(raw) != 1 or len(raw[0]) != shape[0] * shape[1] * 4:
            raise UnfitAnswerError(f"the answer has {[len(part) for part in raw]} bytes for shape {shape}")
        return np.frombuffer(raw[0], np.float32).reshape(shape).copy()

    def check_answer(self, answer: messages.ModelInferResponse, windows: int) -> None:
        """Check what an answer says of its one output.

        Raises:
            UnfitAnswerError: it is another one.

        """
        there = [(output.name, output.datatype, tuple(output.shape)) for output in answer.outputs]
        wanted = (self._spec.output.name, "FP32", (windows, self._spec.raw_width))
        if there != [wanted]:
            raise UnfitAnswerError(f"the answer is {there}, not {wanted}")

    def _plain_part(self, windows: int) -> bytes:
        size = windows * self._spec.window_samples * (2 if self._datatype == "INT16" else 4)
        return bytes(self._request(windows).SerializeToString()) + _RAW_INPUT + _varint(size)

    def _request(self, windows: int) -> messages.ModelInferRequest:
        spec = self._spec
        request = messages.ModelInferRequest(model_name=spec.name, model_version=spec.version)
        request.inputs.add(
            name=spec.input.name, datatype=self._datatype, shape=[windows, spec.window_samples]
        )
        request.outputs.add(name=spec.output.name)
        return request


def _place(parameters: "dict[str, messages.InferParameter]", region: str, at: int, size: int) -> None:
    parameters["shared_memory_region"].string_param = region
    parameters["shared_memory_offset"].int64_param = at
    parameters["shared_memory_byte_size"].int64_param = size


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
