"""Inspection of every file: digest, facts of ELF and Go, and the verdict on its cryptographic module."""
