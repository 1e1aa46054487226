"""Cut documents into segments.

token_columns hold the ids of documents, cut_rules say how to cut them; sentences and locate_sentences find where
sentences start, split_documents cuts.
"""
