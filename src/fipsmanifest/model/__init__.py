"""The documents and their rules: definition, artifact, finding, manifest, difference. Nothing here does I/O."""
