"""Tokenizers as files: read as `transformers` and `tokenizers` read them, checked, written.

brought_files, transformers_folder and folder_tokens read what a user names; vocab_file and tokenizer_files build and
write; check_tokenizer says what a tokenizer must be, and normalise how it makes words of text.
"""
