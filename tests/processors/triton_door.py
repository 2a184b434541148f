"""A door before a real Triton: it lets calls through, but for those that a rule turns down."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from tritonclient.grpc import service_pb2 as messages

from infra.local.triton import TritonServer

Refusal = tuple[grpc.StatusCode, str]
Rule = Callable[[str, bytes], Refusal | None]
"""Takes a method's name and a request; returns what it is turned down with, or None."""
OUT_OF_MEMORY = (grpc.StatusCode.INTERNAL, "CUDA failure 2: out of memory")
FULL = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Door(grpc.GenericRpcHandler):  # type: ignore[misc]
    """What a scorer takes for a Triton; `rule` may be exchanged at any time.

    Where there are several servers behind it, each connection leads to the next one.
    """

    def __init__(self, behind: list[grpc.aio.Channel], rule: Rule | None) -> None:
        self.rule, self.url = rule, ""
        self._behind, self._peers = behind, dict[str, int]()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Handle one call, whatever its method is."""

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            refusal = self.rule(details.method.rpartition("/")[2], request) if self.rule else None
            if refusal is not None:
                await context.abort(*refusal)
            at = self._peers.setdefault(context.peer(), len(self._peers))
            forward = self._behind[at % len(self._behind)].unary_unary(details.method)
            try:
                return bytes(await forward(request))
            except grpc.aio.AioRpcError as exc:
                return bytes(await context.abort(exc.code(), exc.details()))

        return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def door_of(*tritons: TritonServer, rule: Rule | None = None) -> AsyncIterator[Door]:
    """Open a door before a server, or several."""
    async with AsyncExitStack() as opened:
        channels = [grpc.aio.insecure_channel(triton.url, options=_UNLIMITED) for triton in tritons]
        door = Door([await opened.enter_async_context(channel) for channel in channels], rule)
        server = grpc.aio.server(handlers=[door], options=_UNLIMITED)
        door.url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield door
        finally:
            await server.stop(None)


def too_large_above(windows: int) -> Rule:
    """Fail as a GPU does on which fewer windows fit than the configuration says."""

    def rule(method: str, request: bytes) -> Refusal | None:
        if method != "ModelInfer":
            return None
        asked = messages.ModelInferRequest.FromString(request).inputs[0].shape[0]
        return OUT_OF_MEMORY if asked > windows else None

    return rule


def but_silence(method: str, request: bytes) -> Refusal | None:
    """Fail on every sound."""
    if method != "ModelInfer":
        return None
    sounds = messages.ModelInferRequest.FromString(request).raw_input_contents
    return OUT_OF_MEMORY if any(any(sound) for sound in sounds) else None


def once(method: str, refusal: Refusal) -> Rule:
    """Turn the first call of one method down."""
    left = [refusal]
    return lambda called, _: left.pop() if called == method and left else None


def always(refusal: Refusal, *methods: str) -> Rule:
    """Turn every call of these methods down, or every call."""
    return lambda called, _: refusal if called in methods or not methods else None
