"""Runs a program with its standard streams in files: STDIN STDOUT STDERR PROGRAM ARGUMENTS..."""

import os
import runpy
import sys

for number in range(3):
    os.dup2(os.open(sys.argv[1 + number], os.O_RDWR | os.O_APPEND), number)
del sys.argv[:4]
sys.stdin = open(0, closefd=False)  # noqa: SIM115 -- as long as the program runs
runpy.run_path(sys.argv[0], run_name="__main__")
