"""Write rows that are planned.

assemble_rows fills in the token ids, order_rows decides the order, packed_rows are the columns, write_rows stores them.
"""
