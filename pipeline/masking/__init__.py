"""Masking: which tokens a model must predict, as a pure function of counters."""
