"""The process that holds one sandboxed run: parent of bubblewrap, keeper of its limits, log and end.

It is started once per run, so it imports the standard library only, and little of that: nothing here may
import another package of ours.
"""
