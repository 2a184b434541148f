"""A worker of several tenants registers what it writes for each of them, and writes one id."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from threading import Thread

from earwitness.settings import Settings, load_settings
from schemas.codec import CONFLUENT
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.sensor import SensorState
from tests.schemas.records import COVERAGE, DETECTION

SCHEMA_ID = 7


@contextmanager
def registry(registered: list[str]) -> Iterator[str]:
    """A registry that speaks Confluent's protocol and notes each subject that is given a schema."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            registered.append(self.path.split("/")[2])
            body = dumps({"id": SCHEMA_ID}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def of(url: str, tenants: str) -> Settings:
    return load_settings(flags={"registry.url": url, "topics.tenants": tenants})


def subjects(*tenants: str) -> set[str]:
    kinds = ("detections", "coverage", "sensors")
    return {f"{tenant}.audio.{kind}-value" for tenant in tenants for kind in kinds}


def test_what_is_prepared_is_registered_once_for_every_tenant_and_written_with_one_id() -> None:
    registered: list[str] = []
    with registry(registered) as url:
        codec = of(url, '["acme", "apex", "zeta"]').codec()
        assert registered == []
        codec.prepare(Detection, Coverage, SensorState)
        values = codec.encode(DETECTION), codec.encode(COVERAGE)
    assert sorted(registered) == sorted(subjects("acme", "apex", "zeta"))
    assert {value[:5] for value in values} == {CONFLUENT + SCHEMA_ID.to_bytes(4)}


def test_one_tenant_has_its_own_subjects_only() -> None:
    registered: list[str] = []
    with registry(registered) as url:
        of(url, '["acme"]').codec().prepare(Detection, Coverage, SensorState)
    assert set(registered) == subjects("acme")
