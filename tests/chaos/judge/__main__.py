"""`python -m tests.chaos.judge DIRECTORY`: print the verdict as JSON; exit with 1 if anything is wrong."""

import sys
from pathlib import Path

from tests.chaos.judge.judging import judge


def main(directory: str) -> int:
    """Judge a round."""
    verdict = judge(Path(directory))
    print(verdict.to_json())
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
