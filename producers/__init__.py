"""Sound -> audio.frames: sources, framer, publisher, fleet."""
