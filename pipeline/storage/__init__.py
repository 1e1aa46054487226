"""Storage: any fsspec URL, durable writes, Arrow files in checked blocks."""
