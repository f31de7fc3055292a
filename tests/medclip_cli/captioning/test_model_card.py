from medclip_cli.captioning.calibrate import with_captions
from medclip_cli.captioning.calibration import Calibration, MethodRecord
from medclip_cli.captioning.confidence import ReliabilityRow

ROW = ReliabilityRow(0.6, 0.8, 25, 0.704, 0.76)
MEASURED = Calibration(
    20, 0.5, {"consensus": MethodRecord({"cider": 0.442}, None, (ROW,), 0.294, 197)}, corpus="medpix"
)


def test_the_section_says_what_was_measured():
    card = with_captions("", MEASURED)
    assert card.startswith("## Captions\n\nCaptions of the validation images of `medpix`")
    assert "| consensus | - | - | - | 0.442 | 0.29 of 197 |" in card
    assert "| consensus | 0.6 to 0.8 | 25 | 0.704 | 0.760 |" in card


def test_it_comes_after_what_the_card_says_already():
    card = with_captions("# A model\n\nIts words.\n", MEASURED)
    assert card.startswith("# A model\n\nIts words.\n\n## Captions\n")


def test_measured_again_it_replaces_itself_and_nothing_else():
    first = with_captions("# A model\n\n## Captions\n\nold\n\n## Licence\n\nfree\n", MEASURED)
    assert "old" not in first
    assert first.endswith("\n\n## Licence\n\nfree\n")
    assert with_captions(first, MEASURED) == first


def test_a_confidence_that_nobody_could_measure_has_no_table():
    unjudged = Calibration(20, 0.5, {"nearest": MethodRecord({"cider": 0.3})}, corpus="own")
    card = with_captions("", unjudged)
    assert "| nearest | - | - | - | 0.300 | not known |" in card
    assert "Confidence" not in card
