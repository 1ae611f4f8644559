"""Nearest vectors by dot product: exact, or by inverted lists of faiss where there are many."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from rayforge.errors import ConfigurationError

IndexKind = Literal["flat", "lists"]
PROBES = 16
"""Lists that a search looks into."""


class DenseIndex:
    """The `k` vectors with the largest dot product with a query.

    "flat" compares all of them, and is exact. "lists" puts each vector into one of about √n lists
    around centres (faiss, `IndexIVFFlat`) and looks into the nearest lists alone: measure its
    recall (`recall`).
    """

    def __init__(self, vectors: np.ndarray, kind: IndexKind = "flat") -> None:
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        self.kind = kind
        self._lists: Any = None
        if kind == "lists" and len(vectors):
            # The centres must outlive the index, which only points to them.
            self._lists, self._centres = _lists(self.vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, scores) of a query [d], best first; equal scores by row. Fewer than k where there
        are fewer."""
        k = min(k, len(self.vectors))
        if k == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        if self._lists is not None:
            scores, rows = self._lists.search(query[None].astype(np.float32), k)
            rows, scores = rows[0][rows[0] >= 0], scores[0][rows[0] >= 0]
        else:
            every = self.vectors @ query.astype(np.float32)
            rows = np.argpartition(-every, k - 1)[:k] if k < len(every) else np.arange(len(every))
            scores = every[rows]
        order = np.lexsort((rows, -scores))
        return rows[order].astype(np.int64), scores[order]

    def recall(self, queries: np.ndarray, k: int) -> float:
        """Share of the true k nearest that `search` finds, over queries [n, d]."""
        exact = DenseIndex(self.vectors)
        found = [
            len(set(self.search(q, k)[0].tolist()) & set(exact.search(q, k)[0].tolist()))
            / min(k, len(self))
            for q in queries
        ]
        return float(np.mean(found))


def _lists(vectors: np.ndarray) -> tuple[Any, Any]:
    try:
        import faiss
    except ImportError:
        raise ConfigurationError(
            "an index of lists needs faiss: pip install 'rayforge[feedback]', or take flat"
        ) from None
    count, width = vectors.shape
    lists = max(1, int(np.sqrt(count)))
    quantiser = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFFlat(quantiser, width, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 0
    index.cp.niter = 10
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = 64
    index.train(vectors)
    index.add(vectors)
    index.nprobe = min(PROBES, lists)
    return index, quantiser
