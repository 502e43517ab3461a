"""Metrics against independent ones: pytorch-metric-learning, scikit-learn, and a loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import average_precision_score, normalized_mutual_info_score
from torch.nn import functional

from ml.evaluation import metrics
from ml.evaluation.metrics import (
    binary_codes,
    evaluate_retrieval,
    mean_average_precision_at_r,
    normalized_mutual_information,
    prefix,
    recall_at_k,
)


def _random(n, d, classes, seed=0, levels=None):
    """Unit vectors, or with `levels` vectors of few whole numbers, whose similarities tie often and exactly."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    if levels:
        return torch.randint(levels, (n, d), generator=generator).float(), labels
    return functional.normalize(torch.randn(n, d, generator=generator), dim=1), labels


def _brute_force(queries, labels, gallery, gallery_labels, ks, is_self):
    """One query after another, with Python's stable sort."""
    rows = []
    for i, query in enumerate(queries.double()):
        others = [j for j in range(len(gallery)) if not (is_self and i == j)]
        ranked = sorted(others, key=lambda j: -float(query @ gallery[j].double()))
        right = [bool(gallery_labels[j] == labels[i]) for j in ranked]
        total = sum(right)
        if not total:
            continue
        scores = [float(query @ gallery[j].double()) for j in ranked]
        rows.append(
            {
                **{f"recall@{k}": float(any(right[:k])) for k in ks},
                **{f"precision@{k}": sum(right[:k]) / min(k, len(right)) for k in ks},
                "map@r": sum(sum(right[: r + 1]) / (r + 1) for r in range(total) if right[r]) / total,
                "r_precision": sum(right[:total]) / total,
                "map": average_precision_score(right, scores),
                "first": right.index(True) + 1,
            }
        )
    return {key: np.mean([row[key] for row in rows]) for key in rows[0]}


def _assert_equal(result, expected, ks):
    for k in ks:
        assert result.recall[k] == pytest.approx(expected[f"recall@{k}"], abs=1e-6)
        assert result.precision[k] == pytest.approx(expected[f"precision@{k}"], abs=1e-6)
    assert result.map_at_r == pytest.approx(expected["map@r"], abs=1e-6)
    assert result.r_precision == pytest.approx(expected["r_precision"], abs=1e-6)
    assert result.mean_average_precision == pytest.approx(expected["map"], abs=1e-6)
    assert float(result.first_hit[result.is_counted].double().mean()) == pytest.approx(expected["first"])


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(4, 40),
    classes=st.integers(1, 12),
    levels=st.sampled_from([2, 3, 1000]),
    seed=st.integers(0, 1000),
    chunk=st.sampled_from([1, 50, 2**20]),
    held_rows=st.sampled_from([0, 2**14]),
)
def test_every_metric_equals_a_loop_whatever_ties_singletons_and_chunks(n, classes, levels, seed, chunk, held_rows):
    embeddings, labels = _random(n, 4, classes, seed, levels)
    if labels.unique(return_counts=True)[1].max() < 2:
        labels[:] = 0
    ks = (1, 2, 5, n - 1, 2 * n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK_ELEMENTS", chunk)
        patch.setattr(metrics, "HELD_ROWS", held_rows)
        patch.setattr(metrics, "_BLOCK", 3)
        result = evaluate_retrieval(embeddings, labels, ks=ks)
        at_r = mean_average_precision_at_r(embeddings, labels)
    _assert_equal(result, _brute_force(embeddings, labels, embeddings, labels, ks, True), ks)
    assert at_r == pytest.approx(result.map_at_r, abs=1e-6)


def test_a_separate_gallery_equals_a_loop_and_leaves_out_queries_without_answer():
    embeddings, labels = _random(30, 6, 9)
    gallery, gallery_labels = _random(50, 6, 7, seed=1)
    ks = (1, 3, 50)
    result = evaluate_retrieval(embeddings, labels, gallery, gallery_labels, ks=ks)
    _assert_equal(result, _brute_force(embeddings, labels, gallery, gallery_labels, ks, False), ks)
    assert int(result.is_counted.sum()) == int((labels < 7).sum()) < len(labels)


@pytest.mark.parametrize(("n", "classes"), [(300, 20), (50, 45), (64, 2)])
def test_it_agrees_with_pytorch_metric_learning(n, classes):
    embeddings, labels = _random(n, 16, classes)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), device=torch.device("cpu")
    )
    theirs = calculator.get_accuracy(embeddings, labels)
    ours = evaluate_retrieval(embeddings, labels, ks=(1, 5))
    assert ours.recall[1] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert ours.precision[1] == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert ours.r_precision == pytest.approx(theirs["r_precision"], abs=1e-6)
    assert ours.map_at_r == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)


def test_nearest_neighbours_come_in_order_and_never_hold_the_query():
    embeddings, labels = _random(40, 8, 4)
    nearest = evaluate_retrieval(embeddings, labels, ks=(1, 5)).nearest
    similarity = embeddings @ embeddings.T
    similarity.fill_diagonal_(-2)
    assert torch.equal(nearest, similarity.sort(dim=1, descending=True).indices[:, :5])


def test_binary_codes_rank_by_hamming_distance():
    embeddings, _ = _random(60, 32, 6)
    codes = binary_codes(embeddings)
    hamming = (codes[:, None] != codes[None]).sum(2)
    assert torch.equal(codes @ codes.T, 32 - 2 * hamming.float())
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    # The turn is a rotation: each bit splits the space in half, so that codes agree as the angles do.
    expected = 1 - 2 * torch.arccos((embeddings @ embeddings.T).clamp(-1, 1)) / torch.pi
    assert float((codes @ codes.T / 32 - expected).abs().mean()) < 0.15


def test_a_prefix_has_unit_length_and_refuses_what_is_not_there():
    embeddings, _ = _random(10, 16, 3)
    short = prefix(embeddings, 4)
    torch.testing.assert_close(short.norm(dim=1), torch.ones(10))
    with pytest.raises(ValueError, match="dim 17"):
        prefix(embeddings, 17)


def test_nmi_of_well_separated_clusters_is_one_and_equals_scikit_learn():
    centres = torch.eye(4)
    labels = torch.arange(4).repeat_interleave(10)
    embeddings = functional.normalize(centres[labels] + 0.01 * torch.randn(40, 4), dim=1)
    assert normalized_mutual_information(embeddings, labels) == pytest.approx(1.0)
    assert normalized_mutual_info_score(labels, labels) == pytest.approx(1.0)


@pytest.mark.filterwarnings("error")
def test_nmi_of_equal_vectors_is_zero_without_a_warning():
    assert normalized_mutual_information(torch.ones(8, 4) / 2, torch.arange(8) // 2) == 0.0


def test_nothing_to_answer_is_an_error():
    with pytest.raises(ValueError, match="no label occurs twice"):
        recall_at_k(torch.eye(3), torch.arange(3), [1])
    with pytest.raises(ValueError, match="at least 1"):
        recall_at_k(torch.eye(3), torch.zeros(3, dtype=torch.int64), [0])
    with pytest.raises(ValueError, match="not finite"):
        recall_at_k(torch.full((3, 2), torch.nan), torch.zeros(3, dtype=torch.int64), [1])


def test_sixty_thousand_images_fit_in_four_gigabytes():
    """On a few rows of it: what a chunk allocates is what the whole allocates."""
    n = 60_000
    rows = max(1, metrics.CHUNK_ELEMENTS // n)
    # Largest at once: similarities, a partitioned copy, a sorted one (float32), positions and searches in them (int64).
    assert rows * n * (4 * 4 + 8 * 2) + n * 512 * 4 < 4 * 2**30
