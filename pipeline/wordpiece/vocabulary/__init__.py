"""Train a vocabulary from word counts, or extend one, and measure it.

In the order of the data: select_words and weigh_sources choose what is trained on, choose_alphabet spells it in
characters, merge_pieces merges with pair_table and pair_queue; train puts these together, extend_vocabulary adds to a
vocabulary. match_pieces, sample_texts and measure_tokenizer say what text becomes with it; train_stage runs it all.
"""
