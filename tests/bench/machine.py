"""This machine -> what a figure measured on it has to be read with."""

import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import psutil

from infra.local.kafka_docker import IMAGE

LIBRARIES = ("aiokafka", "confluent-kafka", "faust-streaming", "fastavro", "numpy", "onnxruntime")


@cache
def this_machine() -> dict[str, str]:
    """Return what it is made of, and the versions of what was measured."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Apache Kafka": IMAGE.rpartition(":")[2],
        **{name: version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
