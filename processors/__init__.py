"""audio.frames -> audio.detections: a pure core and its shell."""
