"""What the names in printed tables mean, for who reads them for the first time."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

TERMS = {
    "written": "documents to train on",
    "held out": "documents that are never trained on, to measure the model with",
    "duplicates": "documents left out because another one has the same text",
    "quarantined": "inputs that were rejected: quarantine/ has each of them, its place and the reason",
    "tokens": "of the text alone, without [CLS], [SEP] and [PAD]",
    "fill": "share of the places in rows that is not padding; text: that is not [CLS] or [SEP] either",
    "above the fewest": "rows beyond what these lengths need at least. L1 is a bound as if text could be poured into "
    "rows, L2 (Martello and Toth) a tighter one that knows which lengths cannot share a row",
    "cuts": "places where a document was divided between rows",
    "set aside": "documents that could not be packed; quarantine/ has them",
    "static copies": "masks that are stored beside every row; with 0 the loader draws masks as it reads",
    "special in text": "how often the text itself contains the name of a special token, such as [MASK]",
    "proven by sample": "documents that were encoded by the tokenizers library too, with the same ids",
    "coverage": "share of the characters that are in words without [UNK]",
    "[UNK]": "share of the tokens that are [UNK]",
    "accents": "share of the letters that stripping accents changes",
    "tokens/word": "tokens that a word becomes, on average",
    "bytes/token": "UTF-8 bytes of text in a token, on average",
    "words": "words of the text, each as often as it occurs",
    "words too long": "distinct words that tokenizer.long_words left out of training: the encoder makes [UNK] of them",
    "word occurrences too long": "how often these occur",
    "words cut": "distinct words that tokenizer.max_words left out of training",
    "word occurrences cut": "how often these occur",
    "character occurrences cut": "how often characters occur that tokenizer.limit_alphabet left out",
    "num merges": "pairs of pieces that were merged into one",
    "num words": "distinct words that were trained on",
    "proof documents": "documents that were encoded by the tokenizers library too, with the same ids",
    "fallback shards": "shards that the tokenizers library encoded, because the fast encoder could not be used",
    "fingerprint": "equal for equal content: two datasets with the same fingerprint are the same",
    "unigram entropy": "the loss of a model that knows how frequent each token is and nothing else",
    "held-out loss": "where it is below the unigram entropy, the model has learnt from context",
}


def table_of_terms(names: Iterable[str]) -> Table:
    """What those of some names mean that need explaining."""
    table = Table(show_header=False, box=None, pad_edge=False, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name in dict.fromkeys(name.strip() for name in names):
        if name in TERMS:
            table.add_row(name, TERMS[name])
    return table
