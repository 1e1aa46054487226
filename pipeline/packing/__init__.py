"""Packing: token ids of documents to rows, and rows to packed shards.

encoded_documents   a document shard's text to token ids, by the encoder that prepare_encoder makes
words               where words start in Chinese and Japanese text
cutting             documents to segments, none longer than a row
fitting             segments to rows, by length alone
sequences           which segments share a sequence and a row
rows                rows of token ids, in blocks on storage

pack_stage does all of this for one document shard, as pack_units describe it; pack_receipts record what was written,
and quarantine_documents keeps the documents that fit into no row.
"""
