"""Real servers on this machine without Docker, for tests, benchmarks and a first try."""
