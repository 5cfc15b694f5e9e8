"""``python -m ops.emulators.monitor``."""

from ops.emulators.monitor.server import main

if __name__ == "__main__":
    main()
