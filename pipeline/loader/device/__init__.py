"""Batches made on a device: rows sent as they are stored, masked and numbered there."""
