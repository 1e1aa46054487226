"""A run: from a run file to documents, a tokenizer and rows in one output.

parts                           the table of parts: folders, manifests, deciding settings, labels
stages                          the stages of each part
record -> list_parts            what `run.json` says, and what an output contains
describe_run                    the record of what a run file asks for
claim_output                    whether this run may continue an output, add to it, or replace a part of it
open_run                        one driver, one engine, the receipts of its stages
make_documents -> make_tokenizer -> make_rows
                                the parts, in the order in which they are made
prepare                         the whole run, for a command or a program
compare_tokenizers              other tokenizers beside the run's own
running_stage, describe_counts, next_steps
                                how far a stage has come, what was made, and what to do next, in words
"""
