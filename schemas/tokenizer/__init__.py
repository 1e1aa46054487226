"""What a `tokenizer.json` may hold: every value is checked before a library reads the file."""
