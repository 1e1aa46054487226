"""Formats of raw text: what a file holds, by its suffix, and how its documents are read.

document_block   documents of a file as columns, and what was rejected between them
format           what a format is: its names, how its files begin, what reads them
json_lines       a JSON object a line
plain_text       files, lines, or lines up to a blank one
split            where files may be cut, so that several units read them
table            all of them: to add a format, write its module and its line there
"""
