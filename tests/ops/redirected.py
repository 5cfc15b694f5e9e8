"""Runs a program with its standard streams in the files of a folder: FOLDER PROGRAM ARGUMENTS..."""

import os
import runpy
import sys
from pathlib import Path

folder, *sys.argv = sys.argv[1:]
for number, name in enumerate(("stdin", "stdout", "stderr")):
    os.dup2(os.open(Path(folder, name), os.O_RDWR), number)
sys.stdin = open(0, closefd=False)  # noqa: SIM115 -- as long as the program runs
runpy.run_path(sys.argv[0], run_name="__main__")
