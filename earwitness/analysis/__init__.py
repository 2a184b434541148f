"""What analysts do with the log: find sound, listen again, compare, explain, draw, take it elsewhere."""
