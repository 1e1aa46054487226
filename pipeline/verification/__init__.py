"""Verification: re-read what was written and check it against everything that was promised about it."""
