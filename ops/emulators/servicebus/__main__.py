"""``python -m ops.emulators.servicebus``."""

from ops.emulators.servicebus.server import main

if __name__ == "__main__":
    main()
