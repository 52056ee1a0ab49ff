"""Says of each measured row whether it reaches its goal; the exit status is 1 if a row is below both goal and ceiling.

python -m benchmarks.check
"""

from __future__ import annotations

import sys

from benchmarks.figures import NEAR, Figure, read_figures


def verdict(figure: Figure) -> str:
    row, result = figure.row, figure.result
    texts = [f"{figure.value:.2f} of {figure.goal:.2f}", f"{figure.near:.2f} of the ceiling ({figure.ceiling})"]
    if row.goal > figure.limit:
        texts.append(f"the goal {row.goal:g} lies above the ceiling's {figure.limit:.2f}: {NEAR:g} of it counts")
    if figure.memory is not None and row.memory is not None:
        texts.append(f"memory {figure.memory:.2f} of {row.memory:g}")
    reached = figure.reached and figure.memory_reached
    return f"{'reached' if reached else 'BELOW'}: {row.name}, {result['threads']} thread(s): {'; '.join(texts)}"


def main() -> None:
    figures = read_figures()
    for figure in figures:
        print(verdict(figure))
    sys.exit(any(not (figure.reached and figure.memory_reached) for figure in figures))


if __name__ == "__main__":
    main()
