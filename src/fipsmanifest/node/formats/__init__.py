"""Readers of configuration formats that Python 3.6 has none for."""
