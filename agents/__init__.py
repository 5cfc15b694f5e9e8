"""What runs inside a container; it imports none of our other packages."""
