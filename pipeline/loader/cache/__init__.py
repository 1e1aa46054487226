"""Blocks of remote datasets on the local disk: fetched ahead, checked, shared by the processes of a node."""
