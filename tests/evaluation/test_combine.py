"""Ways to combine members, against closed forms."""

import numpy as np
import pytest
from scipy.optimize import nnls

from abawkit.evaluation.combine import METHODS, Fitted, WeightsRecord, correlations, fit
from abawkit.evaluation.crossfit import Result, assign_folds, compare_methods, out_of_fold, simplest
from abawkit.metrics import pearson


def drawn(seed: int = 0, clips: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.maximum(rng.normal(size=(clips, 2)), 0)
    noise = np.array([1.0, 2.0, 4.0])[:, None, None]
    return np.array([1, 5, 0.1])[:, None, None] * (truth + noise * rng.normal(size=(3, clips, 2))) + 3, truth


def test_weights_are_those_of_the_definitions() -> None:
    members, truth = drawn()
    z = (members - members.mean(axis=1, keepdims=True)) / members.std(axis=1, keepdims=True)
    y = (truth - truth.mean(axis=0)) / truth.std(axis=0)
    r = np.array([pearson(truth, member) for member in members])
    assert fit("rweighted", members, truth).weights == pytest.approx(r / r.sum(axis=0))
    for e in range(2):
        expected = nnls(z[:, :, e].T, y[:, e])[0]
        assert fit("nnls", members, truth).weights[:, e] == pytest.approx(expected / expected.sum())
        least = np.linalg.lstsq(z[:, :, e].T, y[:, e], rcond=None)[0]
        ridge = fit("ridge", members, truth).weights[:, e]
        assert ridge == pytest.approx(least / np.abs(least).sum(), abs=0.02)
        assert pearson(truth, fit("mean", members, truth).predict(members))[e] == pytest.approx(
            pearson(truth, members.mean(axis=0))[e]
        )
    assert fit("best", members, truth).weights.tolist() == [[1, 1], [0, 0], [0, 0]]


def test_weights_that_must_not_be_negative_are_not() -> None:
    rng = np.random.default_rng(5)
    noise, truth = rng.normal(size=(600, 1)), rng.normal(size=(600, 1))
    members = np.stack([truth + noise, noise - 0.1 * truth])  # the second one would be taken off the first
    z = (members - members.mean(axis=1, keepdims=True)) / members.std(axis=1, keepdims=True)
    assert np.linalg.lstsq(z[:, :, 0].T, truth[:, 0], rcond=None)[0][1] < -0.3
    assert fit("ridge", members, truth).weights[1, 0] < -0.3
    for method in ("nnls", "rweighted", "greedy"):
        assert fit(method, members, truth).weights[:, 0] == pytest.approx([1, 0]), method


def test_the_penalty_of_ridge_is_that_of_generalised_cross_validation() -> None:
    rng = np.random.default_rng(6)
    truth = rng.normal(size=(80, 1))
    members = np.concatenate([truth[None] + 2 * rng.normal(size=(3, 80, 1)), rng.normal(size=(37, 80, 1))])
    z = ((members - members.mean(axis=1, keepdims=True)) / members.std(axis=1, keepdims=True))[:, :, 0].T
    y = (truth[:, 0] - truth.mean()) / truth.std()
    found = []
    for penalty in np.logspace(-4, 2, 25):
        solved = np.linalg.solve(z.T @ z + 80 * penalty * np.eye(40), z.T)
        left = ((y - z @ solved @ y) ** 2).mean() / (1 - np.trace(z @ solved) / 80) ** 2
        found.append((left, *(solved @ y)))
    weights = np.array(min(found)[1:])
    assert found[0][0] > 1.1 * min(found)[0], "the least penalty is not the best one here"
    assert fit("ridge", members, truth).weights[:, 0] == pytest.approx(weights / np.abs(weights).sum())


def test_the_best_member_is_the_best_on_average_over_the_targets() -> None:
    rng = np.random.default_rng(7)
    truth = rng.normal(size=(300, 2))
    members = truth + np.array([[[0.3, 3.0]], [[1.0, 1.0]]]) * rng.normal(size=(2, 300, 2))
    assert fit("best", members, truth).weights.tolist() == [[0, 0], [1, 1]]


def test_correlations_are_the_mean_over_the_targets() -> None:
    members, _ = drawn()
    expected = [[np.mean([np.corrcoef(a[:, e], b[:, e])[0, 1] for e in range(2)]) for b in members] for a in members]
    assert correlations(members) == pytest.approx(np.array(expected))


def test_greedy_is_the_plain_loop_over_the_clips() -> None:
    members, truth = drawn(3)
    z = (members - members.mean(axis=1, keepdims=True)) / members.std(axis=1, keepdims=True)
    for method, parts in {"greedy": [[0], [1]], "greedy-shared": [[0, 1]]}.items():
        weights = fit(method, members, truth).weights
        for part in parts:
            counts, best, kept = np.zeros(3), -1.0, np.zeros(3)
            for _ in range(50):
                scores = []
                for added in np.eye(3):
                    mixed = np.einsum("m,mne->ne", counts + added, z[:, :, part])
                    scores.append(pearson(truth[:, part], mixed).mean())
                counts[int(np.argmax(scores))] += 1
                if max(scores) > best + 1e-9:
                    best, kept = max(scores), counts.copy()
            for e in part:
                assert weights[:, e] == pytest.approx(kept / kept.sum())


@pytest.mark.parametrize("method", METHODS)
def test_stored_statistics_predict_new_clips_on_the_label_scale(method: str) -> None:
    members, truth = drawn(1)
    fitted = fit(method, members, truth)
    record = fitted.to_record([f"member {index}" for index in range(len(members))])
    again = Fitted.from_record(WeightsRecord.model_validate_json(record.model_dump_json()))
    new, _ = drawn(2, clips=7)
    assert np.array_equal(again.predict(new), fitted.predict(new))
    made = fitted.predict(members)
    assert made.mean(axis=0) == pytest.approx(truth.mean(axis=0))
    assert (fitted.slope > 0).all()
    assert pearson(truth, made) == pytest.approx(pearson(truth, fitted.standard(members)))
    assert ((truth - made) ** 2).mean() < truth.var()  # nearer than the mean label
    assert np.array_equal(fitted.predict(new)[2:3], fitted.predict(new[:, 2:3]))  # a clip does not see the others


@pytest.mark.parametrize("method", METHODS)
def test_a_target_of_constant_truth_and_a_constant_member_spoil_nothing(method: str) -> None:
    members, truth = drawn()
    truth[:, 1] = 0.0
    members[2] = 0.5
    fitted = fit(method, members, truth)
    assert np.isfinite(fitted.predict(members)).all() and (fitted.slope > 0).all()
    assert fitted.weights[:, 1] == pytest.approx(np.full(3, 1 / 3))


def test_folds_keep_groups_whole_and_are_even() -> None:
    groups = [f"g{i % 37}" for i in range(1000)]
    folds = assign_folds(1000, 5, groups=groups)
    assert len({(group, fold) for group, fold in zip(groups, folds, strict=True)}) == 37
    assert np.ptp(np.bincount(folds)) <= 30 and len(np.unique(folds)) == 5
    with pytest.raises(ValueError, match="1 groups"):
        assign_folds(3, groups=["a"] * 3)


@pytest.mark.parametrize("method", METHODS)
def test_a_clip_has_no_part_in_its_own_out_of_fold_prediction(method: str) -> None:
    members, truth = drawn()
    folds = assign_folds(600, 5)
    before = out_of_fold(method, members, truth, folds)
    held = folds == 2
    truth[held] = truth[held][::-1]
    assert np.array_equal(out_of_fold(method, members, truth, folds)[held], before[held])
    first, *others = np.flatnonzero(held)
    members[:, others] += 3  # nor have the other held-out clips, by which nothing may be standardised
    assert out_of_fold(method, members, truth, folds)[first] == pytest.approx(before[first])


def test_the_standard_error_is_that_of_a_bootstrap_and_the_simplest_method_within_it_is_kept() -> None:
    members, truth = drawn(4, clips=900)
    folds = assign_folds(900)
    results = {one.method: one for one in compare_methods(members, truth, folds)}
    first, second = (out_of_fold(name, members, truth, folds) for name in ("nnls", "best"))
    best = max(results, key=lambda name: results[name].score)
    first = out_of_fold(best, members, truth, folds)
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 900, 900) for _ in range(800)]
    spread = np.std([(pearson(truth[i], first[i]) - pearson(truth[i], second[i])).mean() for i in rows])
    assert results["best"].error == pytest.approx(spread, rel=0.15)
    by_two = compare_methods(members, truth, folds, groups=[str(i // 2) for i in range(900)])
    assert by_two[0].error != results["best"].error
    one = np.zeros(2)
    told = [Result("a", 0.1, one, 0.1, 0.3, 0.1), Result("b", 0.3, one, 0.3, 0.1, 0.2), Result("c", 0.4, one, 0.4)]
    assert simplest(told) == "b"


def test_weights_fitted_to_noise_score_nothing_out_of_fold() -> None:
    rng = np.random.default_rng(0)
    members, truth = rng.normal(size=(20, 200, 6)), rng.normal(size=(200, 6))
    (found,) = compare_methods(members, truth, assign_folds(200), methods=["nnls"])
    assert found.optimistic > 0.15 and abs(found.score) < 0.1
