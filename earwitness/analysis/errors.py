"""Errors that only analysts meet."""

from schemas.errors import ConfigurationError


class NoSoundError(ConfigurationError):
    """Nothing in the log is of the sound that is meant."""

    def __init__(self, meant: str, there_is: str) -> None:
        super().__init__("the sound", meant, f"sound that is in the log: {there_is}")
