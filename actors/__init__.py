"""The typed actors, and the step that runs them."""
