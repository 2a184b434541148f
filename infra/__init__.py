"""Configuration of other systems."""
