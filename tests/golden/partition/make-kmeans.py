"""Expected results of k-means from scikit-learn, from given initial centroids.

Makes kmeans.safetensors and kmeans.json beside this file:

    pip install scikit-learn==1.9.1 safetensors==0.8.0 numpy==2.4.6
    OMP_NUM_THREADS=1 python make-kmeans.py

Cases: `blobs`, seven overlapping groups; `offset`, the same far from the origin; `empty`, one initial centroid twice,
so that a cluster is empty after the first assignment.
"""

import json
import pathlib
import sys

import numpy as np
import safetensors.numpy
import sklearn
from sklearn.cluster import KMeans

here = pathlib.Path(__file__).parent
SEED = 20
rng = np.random.default_rng(SEED)
centres = rng.normal(0, 1.0, (7, 12))
blobs = np.concatenate(
    [c + rng.normal(0, 0.8, (n, 12)) for c, n in zip(centres, [300, 200, 120, 80, 60, 30, 10])]
).astype(np.float32)
rng.shuffle(blobs)
start = blobs[rng.permutation(len(blobs))[:7]]
offset = (blobs + 20).astype(np.float32)
twice = start.copy()
twice[4] = twice[1]
cases = {"blobs": (blobs, start), "offset": (offset, (start + 20).astype(np.float32)), "empty": (blobs, twice)}

tensors, numbers = {}, {}
for name, (x, initial) in cases.items():
    fit = KMeans(len(initial), init=initial, n_init=1, tol=0, max_iter=300, algorithm="lloyd").fit(x)
    inertia = float(((x.astype(np.float64) - fit.cluster_centers_[fit.labels_]) ** 2).sum())
    tensors |= {
        f"{name}.x": x,
        f"{name}.initial": initial,
        f"{name}.labels": fit.labels_.astype(np.int32),
        f"{name}.centroids": fit.cluster_centers_.astype(np.float32),
    }
    numbers[name] = {"inertia": inertia, "iterations": int(fit.n_iter_), "sizes": np.bincount(fit.labels_).tolist()}
safetensors.numpy.save_file(tensors, here / "kmeans.safetensors")
record = {
    "made": {
        "command": "OMP_NUM_THREADS=1 python make-kmeans.py",
        "seed": SEED,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    },
    "cases": numbers,
}
(here / "kmeans.json").write_text(json.dumps(record, indent=2) + "\n")
