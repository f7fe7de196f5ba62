"""TLS services asked with bare ClientHello records, as no TLS library of a FIPS host would."""
