"""Download and authenticate what a definition names: one module per kind of upstream."""
