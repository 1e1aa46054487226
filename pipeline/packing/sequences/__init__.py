"""Plan which segments make up which sequences and rows.

plan_rows plans the datasets of a run file; row_plan is the outcome. How sequences are made is looked up in builders:

segments         a piece of a document is a sequence
full_sentences   rows filled as RoBERTa does
next_sentence    pairs as BERT makes them
sentence_order   pairs as ALBERT makes them

The pairs of both are built in pair_chunks, of pair_sentences and by pair_draws; placed says what a builder gets and
returns.
"""
