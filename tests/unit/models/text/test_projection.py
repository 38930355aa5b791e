"""Laws of the projection to 16 numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.projection import DIM, matrix, project


@pytest.mark.parametrize("dim", [16, 384, 768])
def test_columns_are_orthogonal_and_of_one_length(dim: int) -> None:
    """The projection is orthonormal times sqrt(dim / 16)."""
    assert np.allclose(matrix(dim).T @ matrix(dim), np.eye(DIM) * dim / DIM, atol=1e-4)


def test_the_matrix_is_the_one_of_its_version() -> None:
    """Stored states depend on these numbers: another matrix must come with another VERSION."""
    golden = [[0.25, -0.24231, 0.25508, -0.24778], [-0.25, 0.24231, -0.25508, -0.25313]]

    assert np.allclose(matrix(384)[:2, :4], golden, atol=1e-5)


def test_lengths_are_kept_on_average() -> None:
    """The mean squared length of 2,000 random unit vectors stays 1 within 3 standard errors."""
    vectors = np.random.default_rng(0).standard_normal((2_000, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    squared = (project(vectors) ** 2).sum(axis=1)

    assert abs(squared.mean() - 1) < 3 * squared.std() / np.sqrt(len(squared))


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_row_projects_to_the_same_bits_alone_and_among_others(rows: int, seed: int) -> None:
    """However a replay is cut into chunks, the state gets the same numbers."""
    vectors = np.random.default_rng(seed).standard_normal((rows, 384)).astype(np.float32)

    together = project(vectors)

    assert all(np.array_equal(project(vectors[row : row + 1])[0], together[row]) for row in range(rows))


def test_a_narrower_vector_than_the_projection_is_refused() -> None:
    """An encoder of fewer than 16 dimensions can't be projected to 16."""
    with pytest.raises(ValueError, match="at least 16"):
        matrix(8)
