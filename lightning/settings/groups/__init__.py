"""What is declared, subject by subject."""
