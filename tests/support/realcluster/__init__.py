"""A real cluster on this machine, from programs and images that this product released.

`release` cuts and publishes the release, `machine` is a node in namespaces of its own, `cluster` brings three of them
up with kubeadm, and `tampering` changes a node and undoes that.
"""
