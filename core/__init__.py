"""Settings, command line, errors, log and files: what everything else stands on."""
