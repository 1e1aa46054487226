"""Cut documents into segments.

token_columns hold the ids of documents, sentences and locate_sentences say where sentences start, split_documents cuts.
"""
