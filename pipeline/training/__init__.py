"""Training: a BERT-style encoder on masked batches, resumable to the bit."""
