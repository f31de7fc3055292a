"""Abbreviations, whose period belongs to the word: ``vs.``, ``Dr.``, ``etc.``, but not ``approx``."""

from __future__ import annotations

import re

from medclip_cli.scoring.ptb.characters import KEEP_PERIOD

_ALWAYS = frozenset(
    """
    al cf co ct dr ft ga jr ky lt md mo mr ms mt ph rd rt sq sr st va vs vt wm
    adj adm adv ala apr aug ave bhd cie col cos cpl dak dec det drs ens esq est etc ext feb fla fri gen gov
    hon inc ind jan jos jul jun kan ltd maj mar mfg mme mon mrs mtg neb nev nov oct pfc plc pte pty pvt rep
    rev sen sep seq sfc sgt spc ste sys tel thu tue wed wis wyo alex ariz assn asst atty bldg blvd brig bros
    capt cmdr colo conn corp dept elec govs insp intl invt kans mich minn mlle mont msgr natl okla penn ppte
    ppty pres prof ptes ptys reps sens sept supt tenn tues univ wisc assoc calif ph.d ed.d
    """.split()
)
# Of these, the ones that give way to a token one character longer (`st.a` is one token, `etc.a` is two).
_GIVES_WAY = frozenset(
    """
    ph st dr mr ms mt cf ft lt vs wm adj adm adv ave cie col cpl det drs ens gen gov hon jos maj mfg mme mrs
    mtg pfc pvt rep rev sen sfc sgt spc ste alex asst atty brig capt cmdr dept elec govs insp invt mlle msgr
    natl pres prof reps sens supt assoc
    """.split()
)
_WHEN_CAPITALISED = frozenset("az la pa ark del ill ore tex mass miss wash".split())  # states, not words

_CANDIDATE = re.compile(r"([Pp][Hh]\.[Dd]|[Ee][Dd]\.[Dd]|[A-Za-z]{2,5})\.")
_BEFORE_NUMBER = "ca|no|op|pp|art|fig|nos|figs|prop"
_TOUCHING_NUMBER = re.compile(rf"(?:{_BEFORE_NUMBER})\.(?=\d)", re.IGNORECASE)
_SPACED_NUMBER = re.compile(rf"(?<![A-Za-z0-9])({_BEFORE_NUMBER})\. (?=\d)", re.IGNORECASE)


def abbreviation_end(chunk: str, start: int, end: int) -> int:
    """End of the token at ``start``, reaching over an abbreviation's period if one stands there.

    Args:
        chunk: text without blanks.
        start: where the token starts.
        end: where the longest rule ends.
    """
    number = _TOUCHING_NUMBER.match(chunk, start)
    if number and number.end() >= end:
        return number.end()
    match = _CANDIDATE.match(chunk, start)
    if not match or match.end() + 1 < end:
        return end
    word, reaches = match[1], match.end() >= end
    known = word.lower() in _ALWAYS or (word.lower() in _WHEN_CAPITALISED and word[0].isupper())
    return match.end() if known and (reaches or word.lower() not in _GIVES_WAY) else end


def mark_numbered(caption: str) -> str:
    """Mark the abbreviations that keep their period because a number follows: ``No. 5``, ``Fig. 3``."""
    return _SPACED_NUMBER.sub(rf"\1{KEEP_PERIOD} ", caption)
