"""Damaged images of every format: a seeded sample of what benchmarks/mutations.py does at length."""

from benchmarks import mutations


def test_each_mutation_is_decoded_or_refused_in_words_and_costs_no_more_than_it_may():
    report, _ = mutations.run(1000, seed=1)
    assert report["mutations"] == 1000
    assert report["formats"] >= 26
    assert report["faults"] == []
    assert report["decoded"] > 50
    assert report["refused"]["is damaged"] > 50
    assert report["children_mb"] < mutations.MEMORY_MB
