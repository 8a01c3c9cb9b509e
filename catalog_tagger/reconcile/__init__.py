"""Where metadata and audio disagree: a ranked, explained list, made from tables alone.

`job.run_reconcile` joins metadata with what was heard, estimates label noise, and writes `flags` with
their expected precision. Editors' decisions on earlier flags come back in.
"""
