"""Options that `score` and `evaluate` share."""

from __future__ import annotations

from typing import Annotated

import typer

SCORING = "Scoring"

Meteor = Annotated[
    bool | None,
    typer.Option(
        "--meteor/--no-meteor",
        help="METEOR 1.5, which takes seconds to start. [default: where the extra `meteor` is installed]",
        rich_help_panel=SCORING,
    ),
]
Resamples = Annotated[
    int,
    typer.Option(
        min=0,
        max=100_000,
        help="Bootstrap resamples of the 95 % intervals and the tests; 0 leaves the intervals out.",
        rich_help_panel=SCORING,
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of the bootstrap.", rich_help_panel=SCORING)]
