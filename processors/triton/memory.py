"""Slots of ours -> regions of a Triton: makes, registers and unregisters them."""

from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as messages

from processors.triton.admission import Admission
from processors.triton.check import ASK_S
from processors.triton.shared import Owner, Slot, orphans
from processors.triton.verdict import words_of
from schemas.model import ModelSpec

FORGET_S = 1.0
MAX_SLOT_WINDOWS = 128
"""Larger batches go through gRPC."""
Stub = Any
_CANNOT_MAP = {grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}


class UnmappedError(Exception):
    """No memory is left here, or the endpoint does not map ours."""


class SharedMemory:
    """The regions that one endpoint maps."""

    def __init__(self, owner: Owner, spec: ModelSpec) -> None:
        self._owner, self._spec = owner, spec
        self._registered: set[str] = set()

    async def share(self, admission: Admission, slots: int) -> None:
        """Give an admission as many slots as it lacks, and take back those that were given up.

        Raises:
            UnmappedError: there is no more to give.
            grpc.RpcError: the endpoint is away.

        """
        try:
            await self._share(admission, slots)
        except OSError as exc:
            raise UnmappedError(str(exc)) from exc
        except grpc.RpcError as exc:
            if exc.code() not in _CANNOT_MAP:
                raise
            raise UnmappedError(words_of(exc)) from exc

    async def forget(self, admission: Admission) -> None:
        """Take all regions back.

        Raises:
            grpc.RpcError: the endpoint does not answer.

        """
        stub = admission.stub
        for name in list(self._registered):
            await self._unregister(stub, name)

    async def _share(self, admission: Admission, slots: int) -> None:
        stub, is_first = admission.stub, not admission.regions
        for name in self._registered - admission.regions:
            await self._unregister(stub, name)
        while len(admission.regions) < slots:
            admission.add_slot(await self._make(stub, admission.served.max_batch))
        if is_first:  # only now we know that it has the same /dev/shm, where owners hold their locks
            await self._clear_orphans(stub)

    async def _make(self, stub: Stub, batch: int) -> Slot:
        spec, name = self._spec, self._owner.name()
        windows, labels = min(batch, MAX_SLOT_WINDOWS), spec.raw_width
        slot = Slot(name, windows, spec.input.dtype, spec.window_samples, labels)
        try:
            region = messages.SystemSharedMemoryRegisterRequest(
                name=name, key=f"/{name}", byte_size=slot.size
            )
            self._registered.add(name)
            await stub.SystemSharedMemoryRegister(region, timeout=ASK_S)
        finally:
            slot.unlink()
        return slot

    async def _unregister(self, stub: Stub, name: str) -> None:
        request = messages.SystemSharedMemoryUnregisterRequest(name=name)
        try:
            await stub.SystemSharedMemoryUnregister(request, timeout=FORGET_S)
        except grpc.RpcError as exc:
            if exc.code() is not grpc.StatusCode.INTERNAL:
                raise
            return  # still in use: a call that was given up has not ended there; later, then
        self._registered.discard(name)

    async def _clear_orphans(self, stub: Stub) -> None:
        status = await stub.SystemSharedMemoryStatus(
            messages.SystemSharedMemoryStatusRequest(), timeout=ASK_S
        )
        for name in orphans(list(status.regions)):
            await self._unregister(stub, name)
