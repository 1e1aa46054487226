"""Where words start in Chinese and Japanese text, which WordPiece does not know.

segmenters is the table of the libraries that find words in text, icu is one of them; lay_tokens finds the places of
tokens in their text, and mark_words carries over to them what a segmenter finds.
"""
