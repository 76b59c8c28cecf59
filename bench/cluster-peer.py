"""The peers of bench/cluster.ts: k-means of scikit-learn and faiss from given centroids, one request a line.

A request: {"who", "x", "c", "n", "d", "k", "iterations", "out"}, x and c raw float32 files. The answer: seconds and the
iterations done; the centroids go to `out`.
"""

import json
import os
import sys
import time

import faiss
import numpy as np
import sklearn
from sklearn.cluster import KMeans

threads = int(os.environ["OMP_NUM_THREADS"])
faiss.omp_set_num_threads(threads)
print(json.dumps({"scikit-learn": sklearn.__version__, "faiss": faiss.__version__}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    n, d, k, iterations = (request[key] for key in ("n", "d", "k", "iterations"))
    x = np.fromfile(request["x"], dtype=np.float32).reshape(n, d)
    start = np.fromfile(request["c"], dtype=np.float32).reshape(k, d)
    if request["who"] == "faiss":
        # No subsampling: as many points per centroid as there are.
        fit = faiss.Kmeans(d, k, niter=iterations, max_points_per_centroid=n, min_points_per_centroid=1)
        began = time.perf_counter()
        fit.train(x, init_centroids=start)
        seconds, centroids, done = time.perf_counter() - began, fit.centroids, iterations
    else:
        fit = KMeans(k, init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
        began = time.perf_counter()
        fit.fit(x)
        seconds, centroids, done = time.perf_counter() - began, fit.cluster_centers_, int(fit.n_iter_)
    np.ascontiguousarray(centroids, dtype=np.float32).tofile(request["out"])
    print(json.dumps({"seconds": seconds, "iterations": done}), flush=True)
