"""Settings -> a Faust app of fetches, with the options by which Faust leaves all else to its owner."""

from processors.membership import Connections, WorkerSettings
from processors.transport import MAX_POLL_RECORDS, FetchApp, FetchOwner

EVENTS_BUFFERED = 4
"""Fetches that Faust buffers."""


def heartbeat_s(session_timeout_s: float) -> float:
    """Return how often a member tells its group that it is there."""
    return session_timeout_s / 6


def make_app(owner: FetchOwner, connections: Connections, settings: WorkerSettings) -> FetchApp:
    """Return an app that is a member of the group once it is started; it has no agents yet."""
    return FetchApp(
        settings.group,
        owner=owner,
        fetch_min_bytes=settings.fetch_min_bytes,
        fetch_max_wait_ms=settings.fetch_max_wait_ms,
        broker=list(connections.broker_urls),
        broker_credentials=connections.faust_credentials,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=heartbeat_s(settings.session_timeout_s),
        broker_request_timeout=max(30.0, settings.session_timeout_s),
        broker_commit_interval=settings.commit_interval_s,
        broker_max_poll_records=MAX_POLL_RECORDS,
        broker_max_poll_interval=86_400.0,  # nothing is polled while an event waits for room
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=EVENTS_BUFFERED,
        topic_disable_leader=True,
        topic_allow_declare=False,
        store="memory://",
        web_enabled=False,
        autodiscover=False,
    )
