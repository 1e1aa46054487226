"""Packing: token ids of documents to rows, and rows to packed shards.

encoded_documents   a document shard's text to token ids, by the encoder that prepare_encoder makes
cutting             documents to segments, none longer than a row
fitting             segments to rows, by their lengths alone
sequences           which segments share a sequence and a row
rows                rows of token ids, in blocks on storage

pack_stage does all of it for one document shard, as pack_units describe it; pack_receipts say what was written, and
quarantine_documents keeps documents that come to no row.
"""
