"""Verification: re-read what was written and check it against manifests, tables and the run's record."""
