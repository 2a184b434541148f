"""The target of the coverage-guided fuzzer, by seeded chance; and, briefly, the fuzzer itself."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.codec_target import mutated, seeds, target

INPUTS, SEED_INPUTS = 3_000, 300
FUZZ_SECONDS = 3


def test_what_is_read_from_any_bytes_is_the_same_either_way_or_refused() -> None:
    known = list(seeds(SEED_INPUTS))
    good = [target(data) for data in (*known, *mutated(known, INPUTS))]
    assert 100 < sum(good) < len(good) - 100  # both ways were walked


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is for Linux only")
@pytest.mark.timeout(120)
def test_the_coverage_guided_fuzzer_runs_and_finds_nothing(tmp_path: Path) -> None:
    arguments = ["codec", "--seconds", str(FUZZ_SECONDS), "--corpus", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", *arguments], capture_output=True, timeout=100)
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0, said[-4000:]
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    assert found, said[-4000:]
    assert int(found.group(1)) > 500
    assert not [file for file in tmp_path.iterdir() if file.is_file()]
