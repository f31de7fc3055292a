"""`medclip doctor`: what is installed, what is there, what is wrong and how to fix it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from medclip_cli.commands import options as opt
from medclip_cli.terminal import json_output, tables

EXAMPLE = "Example: medclip doctor --json | jq '.findings[] | select(.ok | not)'"


def doctor(as_json: opt.JsonOutput = False) -> None:
    """Say what is installed, which device, home, models and collections there are, and what is wrong."""
    from medclip_cli import diagnosis

    findings = diagnosis.examine()
    well = all(finding.ok for finding in findings)
    if as_json:
        json_output.write({"ok": well, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [("ok" if f.ok else "!!", f.what, f.found, f.mend or "") for f in findings]
        tables.show("medclip doctor", ("", "what", "found", "to fix it"), rows)
    if not well:
        raise typer.Exit(1)
