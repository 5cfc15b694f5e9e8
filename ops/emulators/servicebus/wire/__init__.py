"""Connections, sessions and links (OASIS AMQP 1.0, part 2; SASL of part 5). It knows no queue."""
