"""Tests, as a package of their own: a library that we use installs another one of this name."""
