"""Blocks of remote datasets on the local disk: fetched ahead, checked, shared by the processes of a node.

    reader ── announces the blocks it will read, then waits for each ──▶ fetch_blocks
                                                                            │ several threads
    store ──▶ download_blocks ──▶ block_writer ──▶ file on disk ◀── block_cache.read
                    ▲ Request                           ▲
              fetch_planner ── which files are here? ───┘

1. The reader (`blocks.packed_dataset`) gives `fetch_blocks` an iterator of the blocks it will read, in order.
2. `fetch_planner` draws from it, not too far ahead of the reader (`read_ahead`), and notes how far each block has come
   (`block_states`). It decides what to ask for next: the first blocks one by one, so that the first batch comes soon,
   then extents of up to 8 and later 16 MiB (`extents`).
3. A thread of `fetch_blocks` downloads the request: `download_blocks` claims its blocks among the processes of the node
   (`cache_locks`), reserves their bytes (`cache_ledger`, which evicts by `evict_blocks`), compares each block with its
   checksum and writes neighbours to one file (`block_writer`).
4. The reader takes the block from the disk (`block_cache`), and it is checked again before a row is used.

`cache_settings` is what a person sets; `cached_table` keeps a dataset's table of shards; `pinned_blocks` tells other
processes what this one will read; `own_files` refuses folders and links of other users.

What always holds, whichever process is killed whenever:

- The folder never has more than `max_bytes`: bytes are reserved before they are written.
- A file is visible only when it is whole, and its blocks are checked whenever they are read.
- What a live process has pinned is not evicted. A file with a bad block is deleted even so, unless its others are good.
- A block is downloaded by one process of the node at a time, unless that one hangs, and not again while its file is
  there: one that was evicted, was damaged or found no space comes once more, a damaged one into a file of its own.
- The disk is never needed: where it fails or is full, blocks pass through memory, at most 96 MiB at a time beside those
  that the reader waits for.
"""
