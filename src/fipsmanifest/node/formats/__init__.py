"""Readers of formats that Python 3.6 has no reader for."""
