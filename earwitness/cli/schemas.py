"""Commands for service authors: the schemas of what is published."""
