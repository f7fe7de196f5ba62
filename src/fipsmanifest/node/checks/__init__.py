"""The checks of a node, one module each: ``check(node, manifests)`` gives its results and raises nothing.

A check that cannot tell gives `unknown`; one that cannot apply to what is inspected gives `not-applicable`.
"""
