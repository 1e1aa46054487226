"""WordPiece: count words, train a vocabulary, encode text."""
