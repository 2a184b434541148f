"""One load on a Triton -> how it went, sent by perf_analyzer or by a TritonScorer."""

import base64
import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import numpy as np
import psutil
from tritonclient.grpc import InferenceServerClient

from infra.local.errors import tail
from infra.local.triton import TritonServer, perf_analyzer
from processors.score import Pcm, Scores
from schemas.model import ModelSpec

REPOSITORY = Path(__file__).parents[2]
WITHIN_S = 120
PERF_ANALYZER_WINDOWS = 3
"""So many have to agree before it reports all of them."""


@dataclass(frozen=True, slots=True)
class Load:
    """Batches of so many windows, so many in flight, through gRPC or shared memory."""

    batch: int
    concurrency: int
    shared_memory: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """How a load went; times are of one call, `parts_us` are means that add up to a call."""

    count: int
    windows_per_s: float
    p50_us: float
    p99_us: float
    client_cpu_us: float
    server_cpu_us: float
    parts_us: dict[str, float]


@dataclass(slots=True)
class Usage:
    """What a run cost on both sides, for all of its calls."""

    calls: int = 0
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0


class Bench:
    """Sends loads of the same windows to one server, whoever sends them."""

    def __init__(self, server: TritonServer, spec: ModelSpec, pcm: Pcm, expected: Scores, home: Path) -> None:
        self.server, self._spec, self._home = server, spec, home
        np.save(home / "windows.npy", pcm)
        np.save(home / "expected.npy", expected)
        data = [{spec.input.name: {"b64": base64.b64encode(window.tobytes()).decode()}} for window in pcm]
        (home / "windows.json").write_text(json.dumps({"data": data}))

    def analyzed(self, load: Load, seconds: float) -> Figures:
        """Let perf_analyzer send it, as it does by default: a thread for each request in flight."""
        report, program = self._home / "report.csv", perf_analyzer()
        given = {
            "-m": self._spec.name,
            "-x": self._spec.version,
            "-i": "grpc",
            "-u": self.server.url,
            "-b": load.batch,
            "--concurrency-range": load.concurrency,
            "--shared-memory": "system" if load.shared_memory else "none",
            "--input-data": self._home / "windows.json",
            "--measurement-interval": round(seconds * 1000 / PERF_ANALYZER_WINDOWS),
            "--stability-percentage": 999,
            "--percentile": 99,
            "-f": report,
        }
        command = program.command(*(str(part) for pair in given.items() for part in pair))
        with self._using() as usage:
            said = self._run(command, {**os.environ, **program.environment})
        (row,) = csv.DictReader(report.read_text().splitlines())
        count = re.search(r"Request count: (\d+)", said)
        assert count is not None, said
        return Figures(
            int(count[1]),
            float(row["Inferences/Second"]),
            float(row["p50 latency"]),
            float(row["p99 latency"]),
            usage.client_cpu_s / usage.calls * 1e6,
            usage.server_cpu_s / usage.calls * 1e6,
            {
                "client queue": 0.0,
                "send + receive": sum(
                    float(row[part]) for part in ("Client Send", "Network+Server Send/Recv", "Client Recv")
                ),
                "server queue": float(row["Server Queue"]),
                "compute": sum(float(row[f"Server Compute {part}"]) for part in ("Input", "Infer", "Output")),
            },
        )

    def scored(self, load: Load, seconds: float) -> Figures:
        """Let a TritonScorer send it, from a process of its own."""
        with self._using() as usage:
            found = self.asked(load, seconds)
        calls_us = np.diff(found["calls_ns"], axis=1)[slice(*found["measured"]), 0] / 1000
        p50_us, p99_us = np.percentile(calls_us, [50, 99], method="nearest")
        queue_us = found["stages_us"].pop("queue")
        compute_us = sum(found["stages_us"].values())
        return Figures(
            len(calls_us),
            len(calls_us) * load.batch / found["elapsed_s"],
            float(p50_us),
            float(p99_us),
            found["cpu_s"] / len(calls_us) * 1e6,
            usage.server_cpu_s / usage.calls * 1e6,
            {
                "client queue": float(calls_us.mean()) - found["call_us"],
                "send + receive": found["call_us"] - queue_us - compute_us,
                "server queue": queue_us,
                "compute": compute_us,
            },
        )

    def asked(self, load: Load, seconds: float) -> dict[str, Any]:
        """Return what `through_scorer` says of it, once its scores are known to be right."""
        settings = {
            "concurrency": load.concurrency,
            "shared_memory": "system" if load.shared_memory else "off",
            "deadline_ms": 10_000,
        }
        job = {
            "model": f"{self._spec.name}/{self._spec.version}",
            "url": self.server.url,
            "windows": str(self._home / "windows.npy"),
            "expected": str(self._home / "expected.npy"),
            "batch": load.batch,
            "settings": settings,
            "seconds": seconds,
        }
        command = [sys.executable, "-m", "tests.bench.through_scorer", json.dumps(job)]
        found: dict[str, Any] = json.loads(self._run(command, dict(os.environ)).splitlines()[-1])
        assert found["different"] == 0
        return found

    @contextmanager
    def _using(self) -> Iterator[Usage]:
        usage, before = Usage(), self._used()
        yield usage
        after = self._used()
        usage.calls = after.calls - before.calls
        usage.client_cpu_s = after.client_cpu_s - before.client_cpu_s
        usage.server_cpu_s = after.server_cpu_s - before.server_cpu_s

    def _used(self) -> Usage:
        """Return what the server and the children that ended have used by now."""
        server, own = psutil.Process(self.server.pid), getrusage(RUSAGE_CHILDREN)
        times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
        with InferenceServerClient(self.server.url) as client:
            statistics = client.get_inference_statistics(self._spec.name).model_stats[0].inference_stats
        server_cpu_s = sum(each.user + each.system for each in times)
        return Usage(statistics.success.count, own.ru_utime + own.ru_stime, server_cpu_s)

    def _run(self, command: list[str], environment: dict[str, str]) -> str:
        done = subprocess.run(
            command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=WITHIN_S
        )
        server = "" if self.server.running else f"the server ended: {tail(self.server.log_file)}"
        assert done.returncode == 0, done.stdout + done.stderr + server
        return done.stdout
