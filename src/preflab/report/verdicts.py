"""Lists the verdicts of a study and the comparisons that support these verdicts, and writes them as text."""

from __future__ import annotations

from collections.abc import Sequence

from preflab import text
from preflab.analysis import record
from preflab.analysis.record import Results
from preflab.report import numbers
from preflab.report.metrics import rank_arms


def decides_twice(results: Results) -> bool:
    """Returns True if the study has two verdicts, one for each of two decoding settings (such as greedy, and sampling at
    temperature 1)."""
    return len(results.verdicts) > 1


def name_decoding(results: Results, decoding: record.DecodingChoice) -> str:
    """Writes a decoding setting for use inside a sentence: 'with greedy decoding', 'at temperature 1'."""
    words = results.decodings.get(decoding, "At temperature 1")
    return words[0].lower() + words[1:]


def list_verdicts(results: Results) -> list[tuple[str, record.StudyVerdict]]:
    """Returns the study's verdicts, each with words for its decoding setting, such as 'With greedy decoding'. The words
    are '' if the study has only one verdict."""
    return [
        (results.decodings[decoding] if decides_twice(results) else "", verdict)
        for decoding, verdict in results.verdicts.items()
    ]


def state_answer(words: str, verdict: record.StudyVerdict) -> str:
    """Writes a verdict as a sentence that begins with the decoding setting: 'With greedy decoding: ppo won: pass@1 61.4%,
    ahead of the next, dpo, by 3.2 points.' `words`: the words for the decoding setting, or ''."""
    return f"{words}: {verdict.sentence}" if words else verdict.sentence


def list_evidence(results: Results) -> list[record.Comparison]:
    """Returns the comparisons that support the verdicts, grouped by verdict (one verdict for each decoding setting). The
    comparisons of a verdict are ordered by the rank of the arm `first`, and then by the rank of the arm `second`."""
    places = {arm.name: place for place, arm in enumerate(rank_arms(results))}
    return [
        pair
        for verdict in results.verdicts.values()
        for pair in sorted(verdict.evidence, key=lambda pair: (places[pair.first], places[pair.second]))
    ]


def list_further_comparisons(results: Results) -> list[record.Comparison]:
    """Returns the comparisons that the report shows in addition to the evidence for the verdicts. These are all
    comparisons that the study file declares. Any other comparison is included if the evidence does not contain a
    comparison of its two arms with its decoding setting (such as greedy, or sampling at temperature 1)."""
    shown = {(pair.decoding, frozenset((pair.first, pair.second))) for pair in list_evidence(results)}
    return [
        pair
        for pair in results.comparisons
        if pair.named or (pair.decoding, frozenset((pair.first, pair.second))) not in shown
    ]


def state_win(results: Results, arm: str) -> str:
    """Returns 'won' if the arm is the winner in every verdict of the study. If the arm is the winner in only one of two
    verdicts, names the decoding setting of this verdict, for example 'won with greedy decoding'. Returns '' if the arm
    did not win."""
    where = [words for words, verdict in list_verdicts(results) if verdict.winner == arm]
    if not where:
        return ""
    return "won" if len(where) == len(results.verdicts) else f"won {where[0][0].lower()}{where[0][1:]}"


def explain_adjustment(pairs: Sequence[record.Comparison | record.PairwiseResult]) -> str:
    """Returns sentences that explain how the p-values of the comparisons are adjusted for multiple comparisons."""
    families = list(dict.fromkeys(pair.family for pair in pairs))
    if families in ([], [1.0]):
        return "The p-values are two-sided. Each p-value is for one comparison alone, so it is not adjusted."
    sizes = " or ".join(f"{family:.1f}".removesuffix(".0") for family in families)
    look = "" if all(family.is_integer() for family in families) else ", counted by the error that this look may spend"
    return (
        f"The p-values are two-sided and adjusted for {sizes} comparisons (Bonferroni{look}). They agree with the intervals: "
        "all intervals of the family are simultaneous 95% intervals."
    )


def name_other_budget(results: Results) -> str:
    return {"labels": "compute", "compute": "labels", "none": "compute or labels"}[results.budget.binding]


def state_holding(verdict: record.StudyVerdict) -> str:
    """Writes whether the winner would also win if the other budget were equal for all arms: 'Holds', 'Does not hold' or
    'Not known'. In a study that gives all arms the same number of labels, the other budget is compute. In a study that
    gives all arms the same compute, the other budget is labels."""
    return {"yes": "Holds", "no": "Does not hold", "unknown": "Not known"}[verdict.holds_under_other_budget]


def state_certainty(results: Results) -> str:
    """Writes the number of seeds. Adds 'Preliminary' if at least one verdict is preliminary. A verdict is preliminary
    if one of its comparisons has fewer than five seeds. For a study with interim looks, also names the look at which
    the study stopped."""
    seeds = text.counted(len(results.seeds), "seed")
    looks = f"; {results.looks}" if results.looks else ""
    if not any(verdict.preliminary for verdict in results.verdicts.values()):
        return f"{seeds}, paired{looks}"
    few = "fewer than five" if len(results.seeds) < 5 else "but some arms have fewer than five in common"
    return f"Preliminary: {seeds}, {few}{looks}"


def list_tied(verdict: record.StudyVerdict) -> str:
    """Returns the names of the arms and baselines that do not differ significantly from the best arm. If the verdict
    lists no such arm, the text depends on the winner: 'no other arm' if an arm won, and a dash if no arm won."""
    if verdict.tied:
        return ", ".join(verdict.tied)
    return "no other arm" if verdict.winner is not None else numbers.DASH


def state_outcome(pair: record.Comparison | record.PairwiseResult) -> str:
    """Writes the verdict of a comparison of two arms: 'ppo is better', or 'not decided'."""
    better = {"better": pair.first, "worse": pair.second}.get(pair.verdict)
    return "not decided" if better is None else f"{better} is better"
