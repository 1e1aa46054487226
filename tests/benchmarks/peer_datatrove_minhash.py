"""datatrove's MinHash on the documents of a file, from signatures to clusters, with its defaults: 14 bands of 8 rows.

    python peer_datatrove_minhash.py DOCUMENTS.jsonl FOLDER white_space|own

With `white_space`, words are what `str.split` gives, which is its quickest; with `own` they are those of its English
tokenizer, spaCy's. The documents are in memory, and one task does each step. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig


class Whitespace:
    """Words are what `str.split` gives."""

    def word_tokenize(self, text):
        return text.split()


def main(path, folder, words):
    """Sign the documents, match their bands and join them."""
    with open(path, encoding="utf-8") as file:
        documents = [Document(text=json.loads(line), id=str(number)) for number, line in enumerate(file)]
    config = MinhashConfig()
    steps = [os.path.join(folder, name) for name in ("signatures", "buckets", "clusters")]
    sign = MinhashDedupSignature(steps[0], config)
    if words == "white_space":
        sign.word_tokenizer = Whitespace()
    sign.get_shingles(documents[0].text)  # loads the tokenizer
    started = time.perf_counter()
    sign.run(documents, 0, 1)
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(steps[0], steps[1], config=config).run(None, bucket, config.num_buckets)
    MinhashDedupCluster(steps[1], steps[2], config=config).run(None, 0, 1)
    seconds = time.perf_counter() - started
    removed = os.path.join(steps[2], "000000.remove")
    dropped = os.path.getsize(removed) // 4 if os.path.exists(removed) else 0
    print(json.dumps({"seconds": seconds, "dropped": dropped}))


if __name__ == "__main__":
    main(*sys.argv[1:])
