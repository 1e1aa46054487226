"""Blocks of one packed dataset, each checked before a row of it is used.

shard_files      local shards, held open while they are read
packed_dataset   the blocks of a dataset on any store: local ones by `shard_files`, remote ones by `cache`
"""
