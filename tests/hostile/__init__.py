"""Files that somebody crafted: mutated trees read by the loader, `verify` and the jobs, in processes with limits.

```
python -m tests.hostile --minutes 10 --seed 7          until the time is over, from another seed
python -m tests.hostile --only blocks --count 500      one kind
python -m tests.hostile --replay blocks:17             one mutation, with the traceback or signal that it ends in
```

What is mutated    arrow_messages, blocks: metadata and bodies of record batches; values: numbers, JSON, texts;
                   and a module a kind: manifests, shards, rows, words, tokenizers, checkpoints, files
By whom it is read readers: the loader and the commands; oracle: what a right row is
How it is run      kinds: the table of kinds; sandbox: processes and limits; bases, trees: what there is to mutate
"""
