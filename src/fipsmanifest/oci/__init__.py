"""Container images: documents (OCI Image Specification, Docker), registries with credentials, blob stores."""
