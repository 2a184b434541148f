"""Options -> a real RTSP server on loopback that serves an endless sound: GStreamer's, in a child process.

It can be killed and started again on its port, as a camera is that loses its power. GStreamer's bindings
belong to the system's Python: `gstreamer` says which interpreter, and what to install where there is none.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event

from infra.local.debian import fetch_packages, libraries
from infra.local.errors import MissingToolError, ServerStartError, tail
from infra.local.ports import LOOPBACK, free_ports
from infra.local.process import GuardedProcess

START_TIMEOUT_S, STOP_TIMEOUT_S, CHECK_TIMEOUT_S, POLL_S = 30.0, 5.0, 60, 0.05
PACKAGES = (
    "python3-gi",
    "gir1.2-gst-rtsp-server-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
)
PATH = "/sound"
_PYTHON = Path("/usr/bin/python3")
_IMPORT = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
"""
_SERVE = (
    _IMPORT
    + """
import sys
host, port, path, launch = sys.argv[1:]
server = GstRtspServer.RTSPServer()
server.set_address(host)
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(launch)
factory.set_shared(True)
server.get_mount_points().add_factory(path, factory)
if not server.attach(None):
    sys.exit("nobody may listen on port " + port)
GLib.MainLoop().run()
"""
)


class Payload(StrEnum):
    """What the packets hold, as a pipeline after raw audio."""

    L16 = "audioconvert ! rtpL16pay name=pay0 pt=96"
    PCMU = "audioconvert ! mulawenc ! rtppcmupay name=pay0"
    AAC = "audioconvert ! voaacenc ! rtpmp4gpay name=pay0 pt=96"


@dataclass(frozen=True, slots=True)
class GStreamer:
    """A Python that has GStreamer's bindings, and what it needs in its environment."""

    interpreter: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def gstreamer(*, fetch: bool = False) -> GStreamer:
    """Find a Python with the bindings of GStreamer's RTSP server, or fetch them out of Debian's packages.

    `fetch` passes by what is installed.

    Raises:
        MissingToolError: there is none, and none can be fetched.

    """
    installed = GStreamer(_PYTHON)
    if not fetch and _works(installed):
        return installed
    fetched = _fetched(fetch_packages("gst-rtsp-server", *PACKAGES))
    if not _works(fetched):
        reason = f"{fetched.interpreter} cannot load what was fetched"
        raise MissingToolError("gst-rtsp-server", f"`apt-get install {' '.join(PACKAGES)}`; {reason}")
    return fetched


def _fetched(prefix: Path) -> GStreamer:
    """Say where unpacked bindings, libraries and plug-ins are: nothing looks for them there by itself."""
    folders = {
        "PYTHONPATH": [prefix / "usr/lib/python3/dist-packages"],
        "GI_TYPELIB_PATH": sorted(prefix.glob("usr/lib/*/girepository-1.0")),
        "GST_PLUGIN_PATH": sorted(prefix.glob("usr/lib/*/gstreamer-1.0")),
        "GST_PLUGIN_SCANNER": sorted(prefix.glob("usr/lib/*/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner")),
        "LD_LIBRARY_PATH": libraries(prefix),
        "GST_REGISTRY": [prefix / "registry.bin"],
    }
    named = {name: os.pathsep.join(map(str, paths)) for name, paths in folders.items() if paths}
    return GStreamer(_PYTHON, named)


def _works(found: GStreamer) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - the system's Python and a constant script
            [found.interpreter, "-c", _IMPORT],
            env={**os.environ, **found.environment},
            capture_output=True,
            timeout=CHECK_TIMEOUT_S,
        )
    except OSError:
        return False
    return done.returncode == 0


class RtspServer:
    """One sound at one address; a tick a second, or whatever wave GStreamer's test source knows."""

    def __init__(
        self,
        found: GStreamer,
        directory: Path,
        payload: Payload = Payload.L16,
        sample_rate_hz: int = 16_000,
        channels: int = 1,
        wave: str = "sine",
    ) -> None:
        self._gstreamer, self._log_file = found, directory / "rtsp.log"
        self._port = free_ports(1)[0]
        form = f"audio/x-raw,rate={sample_rate_hz},channels={channels}"
        # Buffers of 20 ms; as a live source it gives them when they are due.
        source = f"audiotestsrc is-live=true wave={wave} samplesperbuffer={sample_rate_hz // 50}"
        self._launch = f"( {source} ! {form} ! {payload.value} )"
        self._process: GuardedProcess | None = None

    @property
    def url(self) -> str:
        """Where its sound is."""
        return f"rtsp://{LOOPBACK}:{self._port}{PATH}"

    def start(self) -> None:
        """Start it, again on the same port if it ran before, and wait until it listens.

        Raises:
            ServerStartError: it ended, or took more than `START_TIMEOUT_S`.

        """
        program = [str(self._gstreamer.interpreter), "-c", _SERVE]
        arguments = [LOOPBACK, str(self._port), PATH, self._launch]
        process = GuardedProcess(program + arguments, self._log_file, self._gstreamer.environment)
        self._process = process
        deadline_s, never = time.monotonic() + START_TIMEOUT_S, Event()
        while not self._listens():
            if process.exit_status is not None:
                raise ServerStartError("RTSP server", "ended", tail(self._log_file))
            if time.monotonic() > deadline_s:
                raise ServerStartError("RTSP server", f"does not listen after {START_TIMEOUT_S:g} s")
            never.wait(POLL_S)

    def kill(self) -> None:
        """End it at once, in the middle of a packet."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """Let it say nothing more, with its connections open, as behind a cut cable, until `thaw`."""
        if self._process is not None:
            self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None:
            self._process.thaw()

    def stop(self) -> None:
        """End it in order, if it runs."""
        if self._process is not None and self._process.exit_status is None:
            self._process.stop(STOP_TIMEOUT_S)

    def _listens(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self._port), POLL_S).close()
        except OSError:
            return False
        return True


@contextmanager
def start_rtsp(
    payload: Payload = Payload.L16, sample_rate_hz: int = 16_000, channels: int = 1, wave: str = "sine"
) -> Iterator[RtspServer]:
    """Run an RTSP server.

    Raises:
        MissingToolError: this machine has no GStreamer.
        ServerStartError: it did not start.

    """
    found = gstreamer()
    with tempfile.TemporaryDirectory(prefix="earwitness-rtsp-") as home:
        server = RtspServer(found, Path(home), payload, sample_rate_hz, channels, wave)
        try:
            server.start()
            yield server
        finally:
            server.stop()
