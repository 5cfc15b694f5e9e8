"""Rules that hold for every test run, as pytest plugins."""
