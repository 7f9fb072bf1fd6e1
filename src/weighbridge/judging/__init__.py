"""How the lines of a policy are judged, kind by kind. ``judge.py`` is the entry. Pure."""
