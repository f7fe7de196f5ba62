"""The node tool: the checks that run on a node, and their report.

Python 3.6 syntax, standard library only: `fipsmanifest.generate.tool` packs this package into the single file, with
`fipsmanifest.trust` and `fipsmanifest.errors`, the only other parts of fipsmanifest that it imports.
"""
