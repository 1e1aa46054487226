"""How maskmill works. Each folder imports only from those below it.

training         a BERT-style encoder on masked batches
verification     what was written, read again and checked
run              the parts of a run in one table of folders, manifests, deciding settings and stages; opening, driving
loader           packed datasets to masked batches
packing          token ids to rows in packed shards
corpus           raw text to document shards
wordpiece        words to a vocabulary, text to token ids
engine           units of work, on this machine or on a Ray cluster
dataset          the rows of a packed dataset, to look at
settings         run and train files, and arguments of the public functions
masking          which tokens a model must predict
storage          any fsspec URL, durable writes, Arrow files in checked blocks
keyed_order      permutations from counters
standard_error   what a process writes there by itself, made printable

Data passes corpus -> wordpiece -> packing -> masking -> storage -> loader -> training. Folders that do not build on
one another, such as masking and storage, do not import each other either.
"""
