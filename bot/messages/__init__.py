"""Alerts, notices and answers in words. Pure."""
