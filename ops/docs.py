"""`make docs`: writes the parts of the README that follow from the code, and what `infra/` knows of it."""

from pathlib import Path

from lightning.settings import settings_table
from ops.deployment import files

BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->"


def main() -> None:
    """Write the table of settings into the README of the current directory, and what `infra/` knows."""
    readme = Path("README.md")
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{settings_table()}\n{END}{after}")
    for name, text in files().items():
        Path(name).write_text(text)


if __name__ == "__main__":
    main()
