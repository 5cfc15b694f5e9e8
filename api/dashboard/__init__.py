"""Pages for people: what the log, the runs and everything else look like in a browser.

They read and change through the same parts of the platform as the API; nothing here speaks HTTP to itself.
"""
