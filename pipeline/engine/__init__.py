"""Engines: run the units of a stage on this machine or on a Ray cluster, with the same bytes."""
