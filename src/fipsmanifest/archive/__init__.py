"""Stream the members of packages, tarballs and image layers: one module per container format, no file ever written."""
