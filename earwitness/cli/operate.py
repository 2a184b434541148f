"""Commands for the operator: sensors, doctor, dead-letters."""
