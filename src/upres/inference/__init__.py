"""Running trained networks on pictures."""
