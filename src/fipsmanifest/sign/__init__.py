"""Sign with gpg, and manage the keys of the trust directory."""
