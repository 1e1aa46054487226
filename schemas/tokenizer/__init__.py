"""What a `tokenizer.json` may contain: every value is checked before a library reads the file."""
