"""Streams with known events, and alarms, rooms and negatives made apart from what models learn from."""
