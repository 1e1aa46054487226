"""How maskmill works: corpus -> wordpiece -> packing -> masking -> storage -> loader -> training."""
