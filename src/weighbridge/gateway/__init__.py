"""Closed access: an OpenAI-compatible gateway that meters every request and serves nothing undecided."""
