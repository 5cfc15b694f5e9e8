"""The chat: Chainlit's page as a client of the HTTP API, in a process that holds no key of the platform."""
