"""What operators ask: who is there and how they hear, what is wrong, what could not be read."""
