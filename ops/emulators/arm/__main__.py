"""``python -m ops.emulators.arm``."""

from ops.emulators.arm.server import main

if __name__ == "__main__":
    main()
