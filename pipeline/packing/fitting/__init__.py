"""Fit segments into rows by length alone.

best_fit and minimum_slack pack, and are compared with lower_bound; fill_rows closes rows by cutting, in rounds of
fill_round. length_lists and space_tree find what fits.
"""
