"""Corpus: raw text to globally shuffled, deduplicated document shards."""
