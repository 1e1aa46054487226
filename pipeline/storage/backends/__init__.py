"""The file systems that a store can use, one module each.

backend        the interface of all backends; callers ask for capabilities, never which backend it is
table          protocols of URLs to backends
local          files of this machine
memory         files that only this process sees
s3             buckets; s3_ranges reads parts of their objects
fsspec_driver  whatever else fsspec has a driver for

Each locks an output in its own way: lock_file by the kernel, claims by files that only one writer can create.
A new backend is one module and one line of the table.
"""
