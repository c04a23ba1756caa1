"""Commands in Telegram: what is asked, who may ask, what is answered.

All but ``store``, ``desk`` and ``serve`` is pure.
"""
