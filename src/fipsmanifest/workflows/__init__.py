"""Whole jobs, which combine the stages: release, reissue, verify, bundle, overrides."""
