"""Plan which segments make up which sequences and rows.

plan_rows decides for every way of making sequences, full_sentences fills rows as RoBERTa does; row_plan is the outcome.
"""
