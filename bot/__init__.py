"""The application: configuration, roles, messages and the ways out."""
