"""Which alerts somebody wants: by rule, by asset and by level. Pure."""

import msgspec

from rules.alerts import Alert, Level, Turn


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted. None stands for every rule, or every asset.

    ``rules``: families, composites among them. ``assets``: of the whole market it is
    ``rules.alerts.ALL``. ``all_but``: besides ``assets``, every asset that is not among these.
    """

    rules: frozenset[str] | None = None
    assets: frozenset[str] | None = None
    all_but: frozenset[str] | None = None
    min_level: Level = Level.WATCH

    def takes(self, alert: Alert) -> bool:
        """Whether ``alert`` is wanted.

        An end is, whatever its level: whether its beginning was told is for the plan to know.
        """
        family = alert.family or alert.rule
        high = alert.turn is Turn.CLOSE or alert.level >= self.min_level
        return high and self.wants_rule(family) and self.wants_asset(alert.asset)

    def wants_rule(self, family: str) -> bool:
        """Whether alerts of this rule may be wanted."""
        return self.rules is None or family in self.rules

    def wants_asset(self, asset: str) -> bool:
        """Whether alerts on this asset may be wanted."""
        if self.assets is None or asset in self.assets:
            return True
        return self.all_but is not None and asset not in self.all_but
