"""``python -m ops.emulators.openai``."""

from ops.emulators.openai.server import main

if __name__ == "__main__":
    main()
