"""The meaning of the terms in printed tables."""

from __future__ import annotations

TERMS = {
    "written": "documents to train on",
    "held out": "documents that are never trained on, to measure the model with",
    "duplicates": "documents left out because another document has the same text",
    "near duplicates": "documents left out because an earlier one is almost the same: documents/near_duplicates.json "
    "has the largest clusters",
    "quarantined": "inputs that were rejected: quarantine/ has each of them with its place and the reason",
    "filtered": "documents that a filter has dropped, by filter and reason",
    "repaired": "documents whose broken characters were repaired",
    "tokens": "tokens of the text, without [CLS], [SEP] and [PAD]",
    "fill": "share of the positions in rows that are not padding; text: that are not [CLS] or [SEP] either",
    "above the fewest": "rows above the minimum that these lengths need. L1 is the bound if text could be cut "
    "anywhere, L2 (Martello and Toth) a tighter one that knows which lengths cannot share a row",
    "cuts": "places where a document was divided between rows",
    "pairs": "sequences of two segments; truncated: longer than a row, so that they lost tokens",
    "set aside": "documents that could not be packed; quarantine/ has them",
    "word boundaries": "what found where words start, which is stored with every row for masks of words",
    "static copies": "masks that are stored with every row; with 0 the loader computes masks as it reads",
    "special in text": "how often the text itself contains the name of a special token, such as [MASK]",
    "proven by sample": "documents that the tokenizers library encoded too, with the same ids",
    "coverage": "share of the characters that are in words without [UNK]",
    "[UNK]": "share of the tokens that are [UNK]",
    "accents": "share of the letters that stripping accents changes",
    "tokens/word": "average number of tokens in a word",
    "bytes/token": "average number of UTF-8 bytes of text in a token",
    "words": "words of the text, counting every occurrence",
    "words too long": "distinct words that tokenizer.long_words left out of training: they encode as [UNK]",
    "word occurrences too long": "how often these occur",
    "words cut": "distinct words that tokenizer.max_words left out of training",
    "word occurrences cut": "how often these occur",
    "character occurrences cut": "occurrences of characters that tokenizer.limit_alphabet left out",
    "num merges": "pairs of pieces that were merged into one",
    "num words": "distinct words used for training",
    "proof documents": "documents that the tokenizers library encoded too, with the same ids",
    "fallback shards": "shards that the tokenizers library encoded, because the fast encoder could not be used",
    "fingerprint": "equal for equal content: two datasets with the same fingerprint are the same",
    "unigram entropy": "the loss of a model that knows how frequent each token is and nothing else",
    "held-out loss": "where it is below the unigram entropy, the model has learnt from context",
}
