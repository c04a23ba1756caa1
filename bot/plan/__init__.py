"""Which alerts each chat gets, bundled how, and when. Pure."""
