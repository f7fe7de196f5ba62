"""Make the manifest from the definition and the findings: who owns a file, what is required, the document."""
