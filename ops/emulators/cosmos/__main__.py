"""``python -m ops.emulators.cosmos``."""

from ops.emulators.cosmos.server import main

if __name__ == "__main__":
    main()
