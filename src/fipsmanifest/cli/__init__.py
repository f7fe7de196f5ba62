"""The commands: one thin module per verb; nothing is decided here, and only here is anything printed."""
