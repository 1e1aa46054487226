"""The masking law once more, in plain Python integers and full sorts; shares nothing with the code under test."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain

PAD, UNK, CLS, SEP, MASK = 0, 6, 7, 8, 9
VOCAB_SIZE = 208
UNUSED = range(1, 6)
SIZE_PADDING = range(200, 208)
ORDINARY = list(range(10, 200))
NEVER_SELECTED = {PAD, CLS, SEP, MASK}
CONTINUES = [token in ORDINARY and token % 2 == 1 for token in range(VOCAB_SIZE)]


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def hash32(stream, seed, epoch, row_id, position):
    key = int.from_bytes(stream.encode(), "big")
    for word in (seed, epoch, row_id):
        key = mix64(((key ^ word) + 0x9E3779B97F4A7C15) % 2**64)
    b1, b0 = divmod(key, 2**32)
    x = (b0 + 0x9E3779B1 * position) % 2**32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15) ^ b1) * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def count_by_the_law(m, rate):
    ppm = int(Fraction(rate).limit_denominator(10**6) * 10**6)
    return 0 if m == 0 or ppm == 0 else max(1, (2 * m * ppm + 10**6) // (2 * 10**6))


def segments_of(ids, never=frozenset(NEVER_SELECTED)):
    """Segments of words of positions, as Google's `cand_indexes` are, but ended by every token that is not selected."""
    segments = [[]]
    for position, token in enumerate(ids):
        if token in never:
            segments.append([])
        elif segments[-1] and CONTINUES[token]:
            segments[-1][-1].append(position)
        else:
            segments[-1].append([position])
    return segments


def list_ngram_shares(longest):
    """ALBERT's: n words are 1/n times as likely as one."""
    return [Fraction(1, n) / sum(Fraction(1, k) for k in range(1, longest + 1)) for n in range(1, longest + 1)]


def list_span_shares(longest, clipped):
    """The geometric distribution with p = 0.2; what is longer counts as the longest, or is drawn again."""
    weights = [Fraction(1, 5) * Fraction(4, 5) ** before for before in range(longest)]
    if clipped:
        weights[-1] = 1 - sum(weights[:-1])
    return [weight / sum(weights) for weight in weights]


def draw_length(shares, word):
    """How many words a word of 32 bits means."""
    length, share = 1, Fraction(word, 2**32)
    while length < len(shares) and share >= sum(shares[:length]):
        length += 1
    return length


def select_ngrams(segments, budget, longest, key, length_word):
    """ALBERT's `create_masked_lm_predictions` with keys for shuffles; Google's whole words where `longest` is 1."""
    shares = list_ngram_shares(longest)
    candidates = [
        [list(chain(*words[at : at + n])) for n in range(1, longest + 1)]
        for words in segments
        for at in range(len(words))
    ]
    candidates.sort(key=lambda candidate: key(candidate[0][0], candidate[0]))
    unit_of = {}
    for candidate in candidates:
        if len(unit_of) >= budget:
            break
        n = draw_length(shares, length_word(candidate[0][0]))
        while n > 1 and len(unit_of) + len(candidate[n - 1]) > budget:
            n -= 1
        positions = candidate[n - 1]
        if len(unit_of) + len(positions) > budget or any(position in unit_of for position in positions):
            continue
        unit_of |= dict.fromkeys(positions, positions[0])
    return unit_of


def select_spans(segments, budget, longest, clipped, key, length_word):
    """SpanBERT's `PairWithSpanMaskingScheme.mask` with keys for its draws of anchors, then `merge_intervals`."""
    shares = list_span_shares(longest, clipped)
    anchors = iter(sorted((p for words in segments for word in words for p in word), key=key))
    selected = set()
    while len(selected) < budget:
        anchor = next(anchors)
        if anchor in selected:
            continue
        length = draw_length(shares, length_word(anchor))
        words = next(words for words in segments if any(anchor in word for word in words))
        at = next(at for at, word in enumerate(words) if anchor in word)
        for position in chain(*words[at : at + length]):
            if len(selected) < budget:
                selected.add(position)
    unit_of = {}
    for position in sorted(selected):
        unit_of[position] = unit_of.get(position - 1, position)
    return unit_of


def select_by_the_law(ids, row_id, epoch, masking, protected=()):
    """The selected positions of a row, ascending, each with the first of its unit."""
    segments = segments_of(ids, NEVER_SELECTED.union(protected))
    maskable = sorted(chain(*chain(*segments)))
    budget = count_by_the_law(len(maskable), masking.rate)

    weights = masking.list_weights()

    def key(position, word=()):
        weight = 1 if weights is None else max(weights[ids[p]] for p in word or [position])
        draws = [position + 65_536 * draw for draw in range(weight)]
        return min(hash32("mask_sel", masking.seed, epoch, row_id, draw) for draw in draws)

    def length_word(position):
        return hash32("mask_len", masking.seed, epoch, row_id, position)

    if masking.per_sequence_rate is not None:
        low, high = (round(rate * 10**6) for rate in masking.per_sequence_rate)
        selected, start = [], 0
        for position, token in enumerate(ids):
            start = position if token == CLS else start
            rate = low + (high - low + 1) * hash32("mask_rat", masking.seed, epoch, row_id, start) // 2**32
            if position in maskable and key(position) < 2**32 * rate // 10**6:
                selected.append(position)
        unit_of = {position: position for position in selected}
    elif masking.strategy == "token":
        if masking.selection == "bernoulli":
            threshold = 2**32 * masking.rate_ppm // 10**6
            selected = [p for p in maskable if key(p) < threshold]
        else:
            selected = sorted(maskable, key=key)[:budget]
        unit_of = {position: position for position in selected}
    elif masking.strategy == "span":
        clipped = masking.span_lengths == "clipped"
        unit_of = select_spans(segments, budget, masking.max_span, clipped, key, length_word)
    else:
        longest = masking.max_ngram if masking.strategy == "ngram" else 1
        unit_of = select_ngrams(segments, budget, longest, key, length_word)
    return dict(sorted(unit_of.items()))


def mask_by_the_law(ids, row_id, epoch, masking, protected=()):
    """Mask one row, given as ints; returns (input_ids, labels) as lists."""
    input_ids, labels = list(ids), [-100] * len(ids)
    mask_share, random_share = Fraction(str(masking.mask_share)), Fraction(str(masking.random_share))
    for position, unit in select_by_the_law(ids, row_id, epoch, masking, protected).items():
        labels[position] = ids[position]
        drawn_at = unit if masking.replace_by == "unit" else position
        share = Fraction(hash32("mask_act", masking.seed, epoch, row_id, drawn_at), 2**32)
        if share < mask_share:
            input_ids[position] = MASK
        elif share < mask_share + random_share:
            input_ids[position] = ORDINARY[hash32("mask_rep", masking.seed, epoch, row_id, position) % len(ORDINARY)]
    return input_ids, labels
