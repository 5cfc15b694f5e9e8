"""What the README says about settings and commands is so."""

import re

from lightning.settings import Settings, settings_table
from ops.commands import conversations, repos, runs, schedule
from tests.architecture.tree import ROOT

README = (ROOT / "README.md").read_text()
#: What a run finds in its container, which is no setting of the platform.
INSIDE_RUNS = {"LIGHTNING_TASK", "LIGHTNING_RUN_ID", "LIGHTNING_API_URL", "LIGHTNING_RUN_TOKEN"}

#: The components that the specification names.
SPECIFIED = (
    "PutEvent", "UserAuth", "ChatResponder", "UserMessenger", "WorkerTaskRunner", "Scheduler",
    "ScheduleWorker", "Agent framework", "Web interface", "Infrastructure",
)  # fmt: skip

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
    assert set(re.findall(r"\bLIGHTNING_[A-Z_]+\b", README)) <= known | INSIDE_RUNS


def test_commands_that_the_readme_names_exist():
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", README, re.MULTILINE))
    assert named, "README.md names no make target"
    assert named <= targets


def test_the_readme_names_every_command():
    table = README.partition("## The command line")[2].partition("\n\nCommands speak")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `lightning")]
    groups = {
        "repos": repos.app,
        "runs": runs.app,
        "schedule": schedule.app,
        "conversations": conversations.app,
    }
    for group, app in groups.items():
        [row] = [row for row in rows if row.startswith(f"| `lightning {group} ")]
        commands = [each.name or each.callback.__name__ for each in app.registered_commands]
        assert [name for name in commands if not re.search(rf"[` ]{name}[` ]", row)] == [], group


def test_each_component_of_the_specification_leads_to_modules_that_exist():
    table = README.partition("| In the specification | Here |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    named = " ".join(row[0] for row in rows)
    assert [each for each in SPECIFIED if each not in named] == []
    for component, modules in rows:
        folder, paths = ROOT, re.findall(r"`([\w/]+(?:\.py|/))`|`(Procfile)`", modules)
        assert paths, component
        for path in filter(None, (part for pair in paths for part in pair)):
            # a name without a folder is in that of the one before
            place = ROOT / path if "/" in path or path == "Procfile" else folder / path
            assert place.exists(), (component, path)
            folder = place if place.is_dir() else place.parent


def test_the_readme_is_for_newcomers_and_leads_to_the_rest():
    assert README.count("\n") <= 600, "what only few readers need belongs into docs/"
    headings = {
        re.sub(r"[^\w -]", "", each).lower().replace(" ", "-")
        for each in re.findall(r"^##+ (.*)$", README, re.MULTILINE)
    }
    targets = re.findall(r"\]\((?!https?:)([^)]*)\)", README)
    for target in targets:
        file, _, anchor = target.partition("#")
        assert (ROOT / file).exists(), target
        assert file or anchor in headings, target
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(targets)
