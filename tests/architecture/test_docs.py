"""What the README says about settings and commands is so."""

import re

from lightning.settings import Settings, settings_table
from tests.architecture.tree import ROOT

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_table_of_settings_is_current():
    _, begin, rest = README.partition("<!-- settings -->")
    table, end, _ = rest.partition("<!-- /settings -->")
    assert begin, "README.md has no <!-- settings --> and <!-- /settings --> around the table"
    assert end
    assert table.strip() == settings_table().strip(), (
        "paste the output of lightning.settings.settings_table()"
    )


def test_settings_that_the_readme_names_exist():
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    # what a run finds in its container is no setting of the platform
    inside = {"LIGHTNING_TASK", "LIGHTNING_RUN_ID", "LIGHTNING_API_URL", "LIGHTNING_RUN_TOKEN"}
    assert set(re.findall(r"\bLIGHTNING_[A-Z_]+\b", README)) <= known | inside


def test_commands_that_the_readme_names_exist():
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", README, re.MULTILINE))
    assert named, "README.md names no make target"
    assert named <= targets
