"""`make docs`: writes what follows from the code: a part of the README, what `infra/` reads, `ops/azure`."""

from pathlib import Path

from lightning.settings import settings_table
from ops import azure, deployment

BEGIN, END = "<!-- settings -->\n", "<!-- /settings -->"


def main() -> None:
    """Write the table of settings into the README of the current directory, and the files beside it."""
    readme = Path("README.md")
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{settings_table()}\n{END}{after}")
    for name, text in {**deployment.files(), **azure.files()}.items():
        Path(name).write_text(text)


if __name__ == "__main__":
    main()
