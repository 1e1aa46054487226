"""Blocks of remote datasets on the local disk: fetched ahead, checked, shared by the processes of a node.

What a person sets       cache_settings
What will be read        upcoming_blocks, lead, open_shards, plan_fetches: pure; block_queue puts them together
How it comes             fetch_blocks -> download_blocks -> block_writer
What lies on the disk    block_cache, cached_table; evict_blocks, cache_ledger: what goes when it is full
Who else uses it         cache_locks, needs_board, own_files
"""
