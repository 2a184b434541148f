"""Commands for analysts who listen again: replay, diff, explain."""
