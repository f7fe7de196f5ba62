"""Signing with gpg, and the trust folder's keys."""
