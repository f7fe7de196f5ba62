"""Generate the manifest from the definition and the findings, and build the node tool."""
