"""What a Kafka client says of itself -> the same without secrets, and without what changes with every try."""

import re
from collections.abc import Iterable, Mapping

_SECRET = ("password", "secret", "ssl.key.pem", "sasl.oauthbearer.config", "token.endpoint.url")
_AFTER = re.compile(r" \(after \d+ms in state \w+\)$")


def secrets_of(client: Mapping[str, object]) -> frozenset[str]:
    """Return what of a client's options must never be shown: of a URL its query."""
    named = {key: str(value) for key, value in client.items() if any(word in key for word in _SECRET)}
    shown = (v.partition("?")[2] if key.endswith(".url") else v for key, v in named.items())
    return frozenset(value for value in shown if value)


def said_safely(text: str, secrets: Iterable[str]) -> str:
    """Return a client's words without any of the secrets, and without how long the attempt took."""
    text = _AFTER.sub("", text)
    for secret in sorted(secrets, key=len, reverse=True):  # one may hold another
        text = text.replace(secret, "***")
    return text
