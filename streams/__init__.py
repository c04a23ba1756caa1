"""Data in motion: venue frames in, events out through Redis. Imports nothing of ours."""
