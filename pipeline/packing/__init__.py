"""Packing: cut documents into segments and fit them into rows."""
