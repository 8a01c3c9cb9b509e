"""From labelled recordings to a trained bundle.

The way of the data: `manifest` (what the recordings are, and which side of the split each is on)
-> `cache` (decoded once, memory-mapped) -> `scenes` (five seconds put together out of recordings,
with the labels that follow) -> `loop` (the optimisation) -> `evaluate` (figures with intervals)
-> a bundle whose card those figures are.
"""
