"""Tools around the platform: the command line, emulators, benchmarks, chaos."""
