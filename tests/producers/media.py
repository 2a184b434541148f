"""Real recordings in containers, made with the encoders that PyAV brings, and a server that serves them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import av
import numpy as np

from producers.source import Block

RATE_HZ = 16_000


def tone(seconds: float, rate_hz: int = RATE_HZ, channels: int = 1) -> Block:
    """A tone of 440 Hz at half of full scale."""
    wave = 16_384 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.repeat(np.rint(wave).astype(np.int16)[:, None], channels, axis=1)


def write_container(
    file: Path, sound: Block, codec: str, rate_hz: int = RATE_HZ, options: dict[str, str] | None = None
) -> Path:
    """Write a sound into the container that the file's name promises."""
    layout = {1: "mono", 2: "stereo"}[sound.shape[1]]
    with av.open(str(file), "w", options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate_hz, layout=layout)
        for start in range(0, len(sound), 1024):
            part = np.ascontiguousarray(sound[start : start + 1024].reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


@dataclass
class Web:
    """A server on loopback: files by name, and `/radio`, an endless stream that can be cut."""

    files: dict[str, bytes] = field(default_factory=dict)
    radio: bytes = b""
    """Sent at `/radio` again and again, chunked, without a length."""
    cut: Event = field(default_factory=Event)
    """While it is set, `/radio` hangs up and refuses."""
    refused: Event = field(default_factory=Event)
    served: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def web() -> Iterator[Web]:
    """Serve until the body ends."""
    site = Web()

    class Handler(BaseHTTPRequestHandler):
        """Answers for the site."""

        def do_GET(self) -> None:
            site.served += 1
            name = self.path.strip("/").partition("?")[0]
            if name == "radio" and not site.cut.is_set():
                self._stream()
            elif name in site.files:
                self._file(site.files[name])
            else:
                site.refused.set()
                self.send_error(404)

        def _file(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.end_headers()
            per_chunk = 2000
            while not site.cut.is_set():
                for start in range(0, len(site.radio), per_chunk):
                    self.wfile.write(site.radio[start : start + per_chunk])
                    # A quarter of a second of sound each time, at 64 kbit/s.
                    if site.cut.wait(0.25):
                        return

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        """Says nothing where a client hangs up."""

        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    site.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.cut.set()
        server.shutdown()
        thread.join()
        server.server_close()
