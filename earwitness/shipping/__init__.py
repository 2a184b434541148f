"""The catalogue that ships: everything that is in it is made here, by one command."""
