"""Which rows come when: pure arithmetic on counters, of one dataset, of mixtures and of ranks."""
