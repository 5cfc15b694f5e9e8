"""What the platform knows about people and their work; each part over the storage port."""
