"""The commands of `lightning` that talk to a running installation; `ops.cli` composes them."""
