"""AMQP 1.0 types and frames (OASIS AMQP 1.0, parts 1 and 2), to bytes and back."""
