"""The one signature verifier, with the keys that it trusts and their roles.

Every stage and the node tool use it. It runs on nodes: Python 3.6 syntax, standard library only.
"""
