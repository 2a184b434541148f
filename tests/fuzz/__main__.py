"""Command line: coverage-guided fuzzing of the codec, `python -m tests.fuzz codec --seconds 60`.

atheris instruments what it imports, so what is fuzzed is imported here, late. A finding is written to the
corpus folder as `crash-…`, `oom-…` or `timeout-…`, shown with its traceback, and ends it with another code.
"""

import argparse
import logging
import resource
import sys
import tempfile
from pathlib import Path

SEEDS = 400


def main() -> None:
    """Read the arguments and fuzz; ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=["codec"])
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--corpus", type=Path, help="kept from run to run; by default a folder that is not")
    arguments = parser.parse_args()
    corpus = arguments.corpus or Path(tempfile.mkdtemp(prefix="earwitness-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    print(f"corpus and findings: {corpus}", flush=True)
    _fuzz(corpus, arguments.seconds)


def _fuzz(corpus: Path, seconds: int) -> None:
    import atheris  # type: ignore[import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["schemas", "processors.pcm", "fastavro"]):
        from tests.fuzz import codec_target
    logging.disable()
    (corpus / "inputs").mkdir(exist_ok=True)
    for number, data in enumerate(codec_target.seeds(SEEDS)):
        (corpus / "inputs" / f"seed-{number}").write_bytes(data)

    def one(data: bytes) -> None:
        codec_target.target(data)

    limits = [
        f"-max_total_time={seconds}",
        f"-max_len={codec_target.MAX_BYTES}",
        f"-rss_limit_mb={_peak_mb() + codec_target.RSS_LIMIT_MB}",
        f"-malloc_limit_mb={codec_target.RSS_LIMIT_MB // 4}",
        "-timeout=10",
        "-print_final_stats=1",
        f"-artifact_prefix={corpus}/",
    ]
    atheris.Setup([sys.argv[0], *limits, str(corpus / "inputs")], one)
    atheris.Fuzz()


def _peak_mb() -> int:
    """Return the peak of memory that this process is charged with: at first it is whoever started it's."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
