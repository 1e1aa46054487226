"""WordPiece: words are counted, a vocabulary is trained or brought, text is encoded.

files        tokenizers as files: read as `transformers` reads them, checked, written
counting     raw text to how often each source has each word
vocabulary   word counts to a vocabulary, and what it makes of the text
encoding     text to token ids
"""
