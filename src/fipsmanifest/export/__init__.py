"""Manifests, node reports and inspections in the formats of the field; pure, one module per format."""
