import numpy as np
import pytest

from medclip_cli.captioning.appearance import KnownAppearance
from medclip_cli.captioning.calibration import Calibration, MethodRecord, calibrate_method, domain_floor
from medclip_cli.captioning.confidence import (
    cross_fitted,
    features_of,
    fit_platt,
    reliability,
)
from medclip_cli.captioning.consensus import Vote
from medclip_cli.errors import ModelError


def drawn_answers(count, seed=0):
    """Answers whose chance to be right is a known function of one feature; a second one is noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 2))
    chance = 1 / (1 + np.exp(-(0.5 + 1.5 * features[:, 0])))
    return features, rng.random(count) < chance, chance


def test_features_multiply_the_shares_of_the_judged_fields():
    votes = {
        "modality": Vote("modality", (("CT", 0.5), ("MR", 0.5))),
        "view": Vote("view", (("Axial", 0.8),)),
        "findings": Vote("findings", (("mass", 0.1),)),
    }
    assert features_of([0.9, 0.7, 0.6], votes, 0.3).tolist() == pytest.approx([0.9, 0.6, 0.4, 0.3])


def test_platt_recovers_the_chance_that_answers_were_drawn_with():
    features, right, chance = drawn_answers(4000)
    assert np.abs(fit_platt(features, right)(features) - chance).mean() < 0.02


def test_platt_stays_within_bounds_when_every_answer_was_right():
    features, _, _ = drawn_answers(30)
    probability = fit_platt(features, np.ones(30, dtype=bool))(features)
    assert (probability > 0.8).all()
    assert (probability < 1).all()


def test_platt_bears_a_feature_that_never_changes():
    features = np.column_stack([np.ones(40), np.arange(40.0)])
    platt = fit_platt(features, np.arange(40) > 20)
    assert platt(features)[0] < 0.2 < 0.8 < platt(features)[-1]


def test_platt_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="needs examples"):
        fit_platt(np.zeros((0, 2)), np.zeros(0, dtype=bool))


def test_cross_fitting_never_shows_a_patient_to_his_own_calibration():
    """One feature names the patient outright: judged fairly it is worth nothing."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(10), 8)
    features = np.eye(10)[group]
    right = np.repeat(rng.random(10) < 0.5, 8)
    fair = cross_fitted(features, right, [str(g) for g in group])
    unfair = fit_platt(features, right)(features)
    assert np.abs(unfair - right).mean() < 0.1
    assert np.abs(fair - right).mean() > 0.4


def test_reliability_compares_promise_and_outcome_by_band():
    rows = reliability(np.array([0.1, 0.85, 0.95, 1.0]), np.array([False, True, True, False]))
    assert [(row.low, row.answers, round(row.right, 3)) for row in rows] == [(0, 1, 0.0), (0.8, 3, 0.667)]
    assert rows[1].confidence == pytest.approx((0.85 + 0.95 + 1.0) / 3)


def judged(count=60):
    features, right, _ = drawn_answers(count)
    return calibrate_method({"cider": 0.5}, features, right.tolist(), [str(i // 3) for i in range(count)])


def test_a_method_is_judged_on_the_answers_whose_truth_is_known():
    features, right, _ = drawn_answers(60)
    truth = [None if place % 3 == 0 else bool(value) for place, value in enumerate(right)]
    record = calibrate_method({"cider": 0.5}, features, truth, [str(i) for i in range(60)])
    assert record.answers == 40
    assert sum(row.answers for row in record.reliability) == 40


def test_too_few_answers_give_no_confidence():
    features, right, _ = drawn_answers(9)
    assert calibrate_method({}, features, right.tolist(), ["a"] * 9).platt is None


def test_the_file_holds_everything():
    calibration = Calibration(
        5,
        0.25,
        {"nearest": MethodRecord({"cider": 0.4}), "consensus": judged()},
        KnownAppearance((0.5, 0.25), ((1.0, 0.0), (0.0, 2.0)), 3.0),
        "medpix",
    )
    again = Calibration.from_json(calibration.to_json())
    assert again == calibration
    assert again.best_method == "consensus"
    assert again.confidence("nearest", np.zeros(2)) is None
    assert again.confidence("generate", np.zeros(2)) is None
    assert 0 < again.confidence("consensus", np.zeros(2)) < 1


@pytest.mark.parametrize("text", ["", "[]", '{"format_version": 1}', "{"])
def test_a_damaged_file_says_how_to_mend_it(text):
    with pytest.raises(ModelError, match="medclip train confidence"):
        Calibration.from_json(text)


def test_a_newer_file_is_refused():
    with pytest.raises(ModelError, match="newer than this medclip"):
        Calibration.from_json('{"format_version": 99, "methods": {}}')


def test_what_lies_below_the_floor_is_far():
    kth = np.linspace(0, 1, 101)
    assert domain_floor(kth, 0.05) == pytest.approx(0.05 * (1 - 101**-0.5))
    assert domain_floor(-kth, 0.05) == pytest.approx(-0.95 * (1 + 101**-0.5))
    calibration = Calibration(3, 0.05)
    assert calibration.is_far([0.9, 0.5, 0.04])
    assert not calibration.is_far([0.9, 0.5, 0.06, 0.01])
    assert not calibration.is_far([])
    assert calibration.is_far([0.01])
