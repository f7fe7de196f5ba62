"""The check of a whole cluster: what runs on each node, what counts as its answer, and what all answers mean."""
