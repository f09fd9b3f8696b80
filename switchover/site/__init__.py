"""What a Rails site is made of: a room (a package here) for each part, and in it a file for each kind of it.

A room's `__init__` says what its kinds promise; a kind's file has its settings, what it does, what it looks at and the
names of its templates. Nothing outside names a kind: the settings do, by `kind`.
"""
