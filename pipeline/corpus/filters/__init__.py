"""Filters: pure functions that drop a document, change its text, or leave it alone; `table` lists them."""
