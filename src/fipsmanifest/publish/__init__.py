"""Publication: immutable objects first, read back, then what may move; to S3 or to a directory."""
