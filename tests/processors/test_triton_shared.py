"""What workers leave in /dev/shm and in a Triton is cleared, but only if they are gone."""

import sys
from asyncio import create_subprocess_exec, subprocess
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as service

from infra.local.triton import TritonServer
from processors.triton.shared import FOLDER, Owner, Slot
from tests.conftest import TritonServers
from tests.processors.triton_door import always, door_of
from tests.processors.triton_rig import Rig, regions_of

KILLED_OWNER = """
import sys
from processors.triton.shared import Owner, Slot
owner = Owner()
slot = Slot(owner.name(), 1, "int16", 8, 1)
print(slot.name, flush=True)
sys.stdin.read()
"""
CANNOT = (grpc.StatusCode.INTERNAL, "unable to open shared memory region")


async def test_what_a_killed_worker_left_is_swept_by_the_next_one_and_a_living_ones_stays() -> None:
    worker = await create_subprocess_exec(
        sys.executable, "-c", KILLED_OWNER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    region = FOLDER / (await worker.stdout.readline()).decode().strip()
    lock = FOLDER / region.name.rpartition("-")[0]
    Owner().close()
    assert region.exists()
    assert lock.exists()
    worker.kill()
    await worker.wait()
    Owner().close()
    assert not region.exists()
    assert not lock.exists()


async def test_regions_are_taken_from_a_server_only_if_it_has_our_dev_shm(
    tmp_path: Path, triton_servers: TritonServers
) -> None:
    rig = Rig(tmp_path)
    triton = triton_servers(rig.repository, ["tiny"])
    name = await leave_region(triton)
    async with door_of(triton, rule=always(CANNOT, "SystemSharedMemoryRegister")) as door, rig.scorer(door):
        assert await regions_of(triton) == {name}
    async with rig.scorer(triton):
        assert name not in await regions_of(triton)


async def leave_region(triton: TritonServer) -> str:
    """Let a server map what no owner has a lock for, once it is mapped."""
    owner = Owner()
    slot = Slot(owner.name(), 1, "int16", 8, 1)
    region = messages.SystemSharedMemoryRegisterRequest(
        name=slot.name, key=f"/{slot.name}", byte_size=slot.size
    )
    async with grpc.aio.insecure_channel(triton.url) as channel:
        await service.GRPCInferenceServiceStub(channel).SystemSharedMemoryRegister(region)
    slot.unlink()
    owner.close()
    return slot.name
