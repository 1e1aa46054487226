"""Encode text as token ids: `nanotoken` where it is proven equal to `tokenizers`, `tokenizers` everywhere else.

load_encoders makes both encoders of a tokenizer, slice_texts feeds them, encode uses them; prove_encoder compares them
on hostile_text, and prove_stage spreads that over the workers.
"""
