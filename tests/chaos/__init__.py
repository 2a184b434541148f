"""Faults against a running system -> a ledger: what was disturbed, and that nothing was lost or altered."""
