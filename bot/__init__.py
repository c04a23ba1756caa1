"""The application: configuration, roles, messages and the ways out."""

__version__ = "0.1.0"
