"""Confluent's HTTP API, as far as confluent-kafka's client uses it -> a schema registry that fails on demand.

This is the tests' own, and no real registry: none can be had as a package. What it shows is how our programs
behave towards what is written here. Where a Docker engine answers, `registry_docker` starts a real one, and
`test_registry.py` shows the path with it as well.

It keeps its content while it is stopped, and comes back on the same port.
"""

import base64
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from infra.local.ports import LOOPBACK, free_ports

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
NO_SUBJECT, NO_VERSION, NO_SCHEMA, INCOMPATIBLE, NOT_AVRO = 40401, 40402, 40403, 409, 42201
BACKEND_ERROR = {"error_code": 50001, "message": "Error in the backend data store"}
Answer = tuple[int, Any]


class Mood(Enum):
    """How it answers."""

    WELL = auto()
    HANGS = auto()
    """It accepts, and never answers."""
    FAILS = auto()
    """Status 500, whatever the question."""


class RegistryServer:
    """Schemas by id and by subject, counted questions; `credentials` are `user:password`, if it wants any."""

    def __init__(self, credentials: str | None = None) -> None:
        self.mood = Mood.WELL
        self.requests: list[str] = []
        self.broken: set[int] = set()
        """Ids on which it fails, however well it is."""
        self._credentials, self._port = credentials, free_ports(1)[0]
        self._schemas: list[str] = []
        self._subjects: dict[str, list[int]] = {}
        self._lock, self._gone = Lock(), Event()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where it is, or was before it was stopped."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def subjects(self) -> set[str]:
        """The subjects under which something is registered."""
        return set(self._subjects)

    def asked(self, schema_id: int) -> int:
        """Return how often it was asked for a schema by its id."""
        return self.requests.count(f"GET /schemas/ids/{schema_id}")

    def start(self) -> None:
        """Answer again."""
        self._gone.clear()
        self._server = _Server(self._port, self._handle)
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and cut those that there are."""
        self._gone.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            self._server = None

    def put(self, subject: str, schema: str) -> int:
        """Register a schema from within, whatever its mood; return its id."""
        with self._lock:
            if schema not in self._schemas:
                self._schemas.append(schema)
            schema_id = self._schemas.index(schema) + 1
            versions = self._subjects.setdefault(subject, [])
            if schema_id not in versions:
                versions.append(schema_id)
            return schema_id

    def _handle(self, method: str, target: str, body: bytes, authorization: str | None) -> Answer | None:
        """Answer a request, or None to hang up without one."""
        path = urlsplit(target).path
        self.requests.append(f"{method} {path}")
        if self.mood is Mood.HANGS:
            self._gone.wait()
            return None
        if self.mood is Mood.FAILS:
            return 500, BACKEND_ERROR
        if self._credentials is not None:
            wanted = "Basic " + base64.b64encode(self._credentials.encode()).decode()
            if authorization != wanted:
                return 401, {"error_code": 401, "message": "Unauthorized"}
        return self._routed(method, path, json.loads(body) if body else {})

    def _routed(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", r"/schemas/ids/(\d+)", self._by_id),
            ("GET", r"/subjects", lambda: (200, sorted(self._subjects))),
            ("GET", r"/subjects/([^/]+)/versions/(latest|\d+)", self._by_version),
            ("POST", r"/subjects/([^/]+)/versions", lambda subject: self._register(subject, body)),
            ("POST", r"/subjects/([^/]+)", lambda subject: self._look_up(subject, body)),
            (
                "POST",
                r"/compatibility/subjects/([^/]+)/versions/latest",
                lambda subject: (200, {"is_compatible": self._compatible(subject, body["schema"])}),
            ),
        ]
        for wanted, pattern, answer in routes:
            match = re.fullmatch(pattern, path)
            if wanted == method and match:
                return answer(*map(unquote, match.groups()))
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _by_id(self, number: str) -> Answer:
        if int(number) in self.broken:
            return 500, BACKEND_ERROR
        if not 1 <= int(number) <= len(self._schemas):
            return 404, {"error_code": NO_SCHEMA, "message": f"Schema {number} not found"}
        return 200, {"schema": self._schemas[int(number) - 1]}

    def _by_version(self, subject: str, version: str) -> Answer:
        ids = self._subjects.get(subject, [])
        at = len(ids) if version == "latest" else int(version)
        if not 1 <= at <= len(ids):
            return 404, {"error_code": NO_VERSION, "message": f"Version {version} not found."}
        return 200, self._full(subject, ids[at - 1])

    def _register(self, subject: str, body: dict[str, Any]) -> Answer:
        try:
            json.loads(body["schema"])
        except ValueError:
            return 422, {"error_code": NOT_AVRO, "message": "Invalid schema"}
        if not self._compatible(subject, body["schema"]):
            return 409, {"error_code": INCOMPATIBLE, "message": "Schema being registered is incompatible"}
        return 200, {"id": self.put(subject, body["schema"])}

    def _look_up(self, subject: str, body: dict[str, Any]) -> Answer:
        ids = self._subjects.get(subject, [])
        found = [schema_id for schema_id in ids if self._schemas[schema_id - 1] == body["schema"]]
        if not found:
            return 404, {"error_code": NO_SUBJECT, "message": f"Subject {subject} not found."}
        return 200, self._full(subject, found[0])

    def _full(self, subject: str, schema_id: int) -> dict[str, Any]:
        version = self._subjects[subject].index(schema_id) + 1
        text = self._schemas[schema_id - 1]
        return {"subject": subject, "version": version, "id": schema_id, "schema": text}

    def _compatible(self, subject: str, schema: str) -> bool:
        """Say whether a reader of the new schema reads the last one: what is new has a default."""
        ids = self._subjects.get(subject)
        if not ids:
            return True
        there = {field["name"] for field in json.loads(self._schemas[ids[-1] - 1])["fields"]}
        return all("default" in field for field in json.loads(schema)["fields"] if field["name"] not in there)


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def __init__(self, port: int, handle: Callable[[str, str, bytes, str | None], Answer | None]) -> None:
        self.handle = handle
        self._open: set[socket.socket] = set()
        super().__init__((LOOPBACK, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were cut off."""

    def cut(self) -> None:
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.server.handle(self.command, self.path, body, self.headers.get("Authorization"))
        if answer is None:
            self.close_connection = True
            return
        status, said = answer
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", MEDIA_TYPE)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def registry_server(credentials: str | None = None) -> Iterator[RegistryServer]:
    """Run a registry; it is stopped at the end."""
    server = RegistryServer(credentials)
    server.start()
    try:
        yield server
    finally:
        server.stop()
