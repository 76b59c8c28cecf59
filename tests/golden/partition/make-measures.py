"""Expected measures from scikit-learn: agreement of labels, silhouette, tf-idf with a truncated SVD.

Makes measures.json beside this file; kmeans.safetensors must be there:

    pip install scikit-learn==1.9.1 safetensors==0.8.0 numpy==2.4.6
    OMP_NUM_THREADS=1 python make-measures.py
"""

import json
import pathlib
import sys

import numpy as np
import safetensors.numpy
import sklearn
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.metrics.cluster import contingency_matrix

here = pathlib.Path(__file__).parent
SEED = 21
rng = np.random.default_rng(SEED)
pairs = []
for n, a, b, same in [(40, 3, 4, 0.7), (25, 4, 4, 0.0), (12, 2, 5, 1.0), (6, 1, 2, 0.0)]:
    clusters = rng.integers(0, a, n)
    domains = np.where(rng.random(n) < same, clusters % b, rng.integers(0, b, n))
    pairs.append(
        {
            "clusters": clusters.tolist(),
            "domains": domains.tolist(),
            "normalizedMutualInformation": normalized_mutual_info_score(domains, clusters),
            "adjustedRand": adjusted_rand_score(domains, clusters),
            "purity": float(contingency_matrix(domains, clusters).max(axis=0).sum() / n),
        }
    )

tensors = safetensors.numpy.load_file(here / "kmeans.safetensors")
silhouette = float(silhouette_score(tensors["blobs.x"].astype(np.float64), tensors["blobs.labels"]))

TERMS, RANK = 30, 4
documents = [rng.integers(0, 10 + 5 * (i % 5), rng.integers(5, 40)).tolist() for i in range(14)]
counts = np.zeros((len(documents), TERMS))
for i, document in enumerate(documents):
    np.add.at(counts[i], document, 1)
rows = TfidfTransformer().fit_transform(counts).toarray()
_, _, v = np.linalg.svd(rows, full_matrices=False)
vectors = rows @ v[:RANK].T
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

record = {
    "made": {
        "command": "OMP_NUM_THREADS=1 python make-measures.py",
        "seed": SEED,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    },
    "agreement": pairs,
    "silhouette": silhouette,
    "tfidf": {
        "documents": documents,
        "terms": TERMS,
        "rank": RANK,
        "products": np.round(vectors @ vectors.T, 7).tolist(),
    },
}
(here / "measures.json").write_text(json.dumps(record) + "\n")
