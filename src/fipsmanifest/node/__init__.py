"""What runs on a node: the one signature verifier, and the checks of the node tool.

Standard library only and Python 3.6 syntax, because this package is what `fipsmanifest.tool` packs into the single
file; of the rest of fipsmanifest it knows `fipsmanifest.errors` alone.
"""
