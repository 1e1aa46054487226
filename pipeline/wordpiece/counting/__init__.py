"""Count the words of a corpus: raw text to how often each source has each word.

In the order of the data: scan_text and map_characters look at raw bytes, split_words and count_words make words of
them, count_letters counts letters and accents; word_table and counted_words hold counts in bounded memory; word_files
travel between count_stage, merge_stage and collect_stage, which writes word_counts, the table that is kept.
"""
