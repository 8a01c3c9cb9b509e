"""Songs inside other tracks, and tracks that are the same recording: from fingerprints to tables.

`recordings` reads what the tagging pass wrote, shard by shard; `segments` and `generations` keep the index of
songs in the warehouse; `searching` looks for its songs in shows; `sketches` and `duplicates` find equal
recordings; `job` does it all, on this machine or as tasks on a Ray cluster.
"""
