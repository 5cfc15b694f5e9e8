"""`python -m tests.releases.make`: keeps what this version stores, for the tests of later ones.

Run once, when a version is released; what was kept of an older one is never made anew.
"""

import asyncio
import io
import json
import lzma
import shutil
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from typer.testing import CliRunner

from lightning.containers.opening import open_runner
from lightning.settings import Settings, for_child
from ops.chaos.installation import Installation
from ops.cli import app
from tests.releases.life import live
from tests.releases.places import EXPORT, KEYS, KINDS, RELEASES, place


def main() -> None:
    """Make the folder of this version."""
    folder = RELEASES / version("lightning-fleet")
    if folder.exists():
        sys.exit(f"{folder} is there: what a release stored is kept as it was")
    try:
        for kind in KINDS:
            (folder / kind).mkdir(parents=True)
            with tempfile.TemporaryDirectory() as name, place(kind) as there:
                data = Path(name) / "data"
                story = live(there, data)
                there.keep(data, folder / kind)
                if kind == "sqlite":
                    _keep_export(data, folder / EXPORT)
                _end_runs(there.installation(data, {}))
            (folder / kind / "story.json").write_text(json.dumps(story, indent=1, sort_keys=True) + "\n")
        _check_for_places(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _keep_export(data: Path, path: Path) -> None:
    """Keep what `lightning storage export` makes of the same installation."""
    exported = data.parent / "export"
    ran = CliRunner(env={**KEYS, "LIGHTNING_DATA": str(data)}).invoke(
        app, ["storage", "export", str(exported)]
    )
    if ran.exit_code != 0:
        sys.exit(ran.output)
    with tarfile.open(path, "w:xz") as kept:
        for file in sorted(exported.iterdir()):
            kept.addfile(_entry(file), io.BytesIO(file.read_bytes()))


def _entry(file: Path) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(file.name)
    entry.size = file.stat().st_size
    return entry


def _check_for_places(folder: Path) -> None:
    """See that nothing that is kept names a folder of this machine."""
    named = [
        kept.name
        for kept in folder.rglob("*.xz")
        if str(RELEASES.parent.parent).encode() in lzma.decompress(kept.read_bytes())
    ]
    if named:
        sys.exit(f"folders of this machine are named in {', '.join(named)}: leave them out in {__package__}")


def _end_runs(installation: Installation) -> None:
    """Stop the containers that nobody looks after any more."""
    settings = Settings.load(for_child(installation.settings))

    async def end() -> None:
        runner = open_runner(settings)
        for name in [run.name async for run in runner.list()]:
            await runner.remove(name)
        await runner.close()

    asyncio.run(end())


if __name__ == "__main__":
    main()
