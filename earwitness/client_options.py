"""`kafka.client` -> librdkafka's own options, or a refusal: they say neither who we are nor whom we believe.

What is said there reaches librdkafka's clients alone. Who we are to Kafka, and how sure we are of it, Faust's
consumer has to know as well: settings say it to both. What has no setting, such as extensions of a token or a
list of revoked certificates, passes.
"""

from collections.abc import Mapping

from schemas.errors import ConfigurationError

_INSTEAD = {
    "bootstrap.servers": "kafka.bootstrap_servers",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "security.protocol": "kafka.security_protocol",
    "sasl.mechanism": "kafka.sasl_mechanism",
    "sasl.username": "kafka.sasl_username",
    "sasl.password": "kafka.sasl_password",
    "sasl.oauthbearer.token.endpoint.url": "kafka.oauth_token_url",
    "sasl.oauthbearer.scope": "kafka.oauth_scope",
    "sasl.oauthbearer.client.id": "kafka.sasl_username",
    "sasl.oauthbearer.client.secret": "kafka.sasl_password",
    "ssl.ca.": "kafka.ssl_ca_file",
    "ssl.certificate.": "kafka.ssl_certificate_file",
    "ssl.key.password": "kafka.ssl_key_password",
    "ssl.key.": "kafka.ssl_key_file",
    "enable.ssl.certificate.verification": "",
    "ssl.endpoint.identification.algorithm": "",
    "enable.sasl.oauthbearer.unsecure.jwt": "",
    "ssl.cipher.suites": "",
}
"""How options begin -> the setting that says it to both clients; empty where it is no matter of choice. The
first that fits counts."""


def check_passed_through(options: Mapping[str, object]) -> None:
    """Refuse what has a setting of its own, or would have us believe anybody.

    Raises:
        ConfigurationError: the first such option, without its value.

    """
    for option in options:
        instead = next((found for begin, found in _INSTEAD.items() if option.startswith(begin)), None)
        if instead is not None:
            way = (
                f"{instead} instead, which both clients know" if instead else "nothing: it is always checked"
            )
            raise ConfigurationError("kafka.client", option, way)
