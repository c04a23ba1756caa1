"""What a mistyped word was probably meant to be. Pure."""

from difflib import get_close_matches


def nearest(word: str, candidates: list[str], cutoff: float = 0.6) -> str | None:
    """The candidate that ``word`` was probably meant to be, whatever its case."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    close = get_close_matches(word.casefold(), list(folded), n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


def did_you_mean(word: str, candidates: list[str]) -> str:
    """`` (did you mean "…"?)``, or nothing if no candidate is near."""
    near = nearest(word, candidates)
    return f' (did you mean "{near}"?)' if near else ""
