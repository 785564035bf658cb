"""Hand-built activations whose right answer is known."""

import numpy as np


def noise(rows: int, features: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


def stretched(rows: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a scale and an offset of its own in every feature, and a unit vector."""
    generator = np.random.default_rng(seed + 1)
    values = noise(rows, features, seed) * generator.uniform(0.2, 5, features) + generator.normal(size=features) * 3
    direction = generator.normal(size=features)
    return values.astype(np.float32), direction / np.linalg.norm(direction)
