"""A linear head in closed form: what varies within classes is scaled down, and the rest sorted by importance.

Directions in which images of one class differ (light, angle, background) say nothing about the class. The inverse
square root of the within-class covariance makes all of them equally small; the covariance is shrunk towards its mean
variance, since a few hundred images cannot fill a matrix of 1280 x 1280. The result is rotated to its principal axes,
so that a prefix of the vector is the best shorter vector (Matryoshka), and cut to `dim`. Classes that training never
saw gain as much as those it did, because no class is singled out.
"""

import torch
from torch import Tensor


def closed_form_head(features: Tensor, labels: Tensor, *, dim: int, shrinkage: float = 1.0) -> tuple[Tensor, Tensor]:
    """Fits the head.

    Args:
        features: float32 [n, d], as they enter the linear map.
        labels: int64 [n], of at least two classes.
        dim: of the result; more than d gives d.
        shrinkage: weight of the mean variance that is added to the covariance of every direction.

    Returns:
        weight float32 [dim, d] and bias float32 [dim] of the linear map, which centres the features.
    """
    x = features.double()
    mean = x.mean(0)
    within = x - _class_means(x, labels)
    covariance = within.T @ within / len(x)
    variance = covariance.diagonal().mean().clamp(min=1e-12)
    values, vectors = torch.linalg.eigh(covariance + shrinkage * variance * torch.eye(len(covariance)).to(covariance))
    whiten = vectors @ (values.rsqrt()[:, None] * vectors.T)
    whitened = (x - mean) @ whiten
    axes = torch.linalg.eigh(whitened.T @ whitened).eigenvectors.flip(1)[:, :dim]
    weight = axes.T @ whiten
    return weight.float(), (-weight @ mean).float()


def _class_means(x: Tensor, labels: Tensor) -> Tensor:
    """The mean of each row's class, [n, d]."""
    _, number, counts = labels.unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, number, x)
    means: Tensor = (sums / counts[:, None])[number]
    return means
