"""Go's own FIPS module: its integrity sum, its references, and the comparison of a program with one of them."""
