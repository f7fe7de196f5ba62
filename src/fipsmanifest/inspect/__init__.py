"""Look at every file: digest, ELF and Go facts, and the verdict on its cryptographic module."""
