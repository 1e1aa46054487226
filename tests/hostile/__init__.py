"""Files that somebody crafted: mutated trees read by the loader, `verify` and the jobs, in processes with limits.

```
python -m tests.hostile --minutes 10 --seed 7          until the time is over, from another seed
python -m tests.hostile --only blocks --count 500      one kind
python -m tests.hostile --replay blocks:17             one mutation, with the traceback or signal that it ends in
```

What is mutated    arrow_messages (metadata and bodies of record batches), values (numbers, JSON, texts), and a module a kind
What it is read by readers; what a right answer is: oracle
How it is run      sandbox (processes, limits), kinds (the table of kinds), trees (what is mutated, checksums recomputed)
"""
