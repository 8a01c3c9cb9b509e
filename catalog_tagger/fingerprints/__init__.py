"""Songs found again by landmarks: peaks of the CQT-gram that the tagging pass has computed anyway.

`peaks` chooses them, segment by segment; `landmarks` joins three near ones to a key that a change of
level, codec or pitch leaves as it is; `index` keeps the keys of songs; `matching` finds the songs of an
index in a recording, and says where they begin and end.

None of it knows Ray, storage or metadata.
"""
