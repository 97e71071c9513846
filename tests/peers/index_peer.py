"""One index of another library, timed for kernels.py: encode, or a scan for the 10 best.
Speaks as tests/bench_codec --ask does: facts as one line of JSON, then a time in seconds for each line that comes in.

index_peer.py NAME encode|scan --vectors X.npy --queries Q.npy --nearest I.npy [--batch N] [--threads N] [--min-ms T]

X is [n][dim] float32, Q the queries of which `batch` at a time are searched, I the indices of their nearest vectors by inner product.
Encoding ends with the codes: of FAISS by sa_encode into memory that is there, of the others by adding to an empty index, because they
offer nothing else; what can be made before (rotations, training) is made before. Bytes are those of a vector's code, of the others
those by which a serialized index grows with a vector, identifiers included."""
import argparse
import json
import os
import sys
import tempfile
import time

import numpy

BEST = 10


class Faiss:
    """An index that faiss.index_factory or its constructors make, trained on all vectors."""

    def __init__(self, kind, x, threads):
        import faiss
        self.faiss, self.kind, self.threads = faiss, kind, threads
        dim, ip = x.shape[1], faiss.METRIC_INNER_PRODUCT
        scalar = faiss.ScalarQuantizer
        self.index = {
            "sq4": lambda: faiss.IndexScalarQuantizer(dim, scalar.QT_4bit, ip),
            "sq8": lambda: faiss.IndexScalarQuantizer(dim, scalar.QT_8bit, ip),
            "tqmse4": lambda: faiss.IndexScalarQuantizer(dim, scalar.QT_4bit_tqmse, ip),
            "pq8": lambda: faiss.IndexPQ(dim, dim // 2, 8, ip),
            "pq4": lambda: faiss.IndexPQ(dim, dim, 4, ip),
            "pq4_fast_scan": lambda: faiss.IndexPQFastScan(dim, dim, 4, ip),
            "rabitq4": lambda: faiss.IndexRaBitQ(dim, ip, 4),
            "rabitq4_fast_scan": lambda: faiss.IndexRaBitQFastScan(dim, ip, 32, 4),
        }[kind]()
        self.version = faiss.__version__
        faiss.omp_set_num_threads(os.cpu_count())
        self.index.train(x)
        self.codes = numpy.empty((len(x), self.index.sa_code_size()), numpy.uint8)
        self.bytes = self.index.sa_code_size()

    def encode(self, x):
        self.faiss.omp_set_num_threads(self.threads)
        start = time.perf_counter()
        self.index.sa_encode(x, codes=self.codes)
        return time.perf_counter() - start

    def nmse(self, x):
        if "rabitq" in self.kind:       # whose sa_decode reads the sign bits alone
            return None
        x = x[:4096]
        return float(((self.index.sa_decode(self.codes[:len(x)]) - x) ** 2).sum() / (x ** 2).sum())

    def fill(self, x):
        self.index.add(x)

    def search(self, q):
        return self.index.search(q, BEST)[1]

    def begin(self):
        self.faiss.omp_set_num_threads(self.threads)


class TurboVec:
    """TurboQuant in Rust; its threads are set by RAYON_NUM_THREADS before the process starts."""

    def __init__(self, kind, x, threads):
        import turbovec
        self.make = lambda: turbovec.TurboQuantIndex(x.shape[1], {"tq4": 4}[kind])
        self.version = turbovec.__version__
        sizes = []
        for n in (len(x) // 2, len(x)):
            index = self.make()
            index.add(x[:n])
            sizes.append(len(index.to_bytes()))
        self.bytes = (sizes[1] - sizes[0]) / (len(x) - len(x) // 2)

    def encode(self, x):
        index = self.make()
        index.add(x[:1])                # makes the rotation and the codebook
        start = time.perf_counter()
        index.add(x, chunk_size=0)      # not in the slices that serve to be interrupted between
        return time.perf_counter() - start

    nmse = None

    def fill(self, x):
        self.index = self.make()
        self.index.add(x)
        self.index.prepare()

    def search(self, q):
        return self.index.search(q, BEST)[1].astype(numpy.int64)

    def begin(self):
        pass


class RaBitQLib:
    """The method's own library; one cluster around the vectors' mean, all of it probed."""

    def __init__(self, kind, x, threads):
        import importlib.metadata

        import rabitqlib
        bits, self.fast = {"rabitq4": (4, False), "rabitq4_fast": (4, True), "rabitq1": (1, False)}[kind]
        self.make = lambda n: rabitqlib.IvfIndex(x.shape[1], n, 1, bits, "ip")
        self.version, self.threads = importlib.metadata.version("rabitqlib"), threads
        self.centroid = x.mean(axis=0, keepdims=True)
        sizes = []
        with tempfile.TemporaryDirectory() as folder:
            for n in (len(x) // 2, len(x)):
                path = os.path.join(folder, "index")
                self.build(x[:n]).save(path)
                sizes.append(os.path.getsize(path))
        self.bytes = (sizes[1] - sizes[0]) / (len(x) - len(x) // 2)

    def build(self, x):
        index = self.make(len(x))
        index.build(x, self.centroid, numpy.zeros(len(x), numpy.uint32), self.threads, self.fast)
        return index

    def encode(self, x):
        index, cluster = self.make(len(x)), numpy.zeros(len(x), numpy.uint32)
        start = time.perf_counter()
        index.build(x, self.centroid, cluster, self.threads, self.fast)
        return time.perf_counter() - start

    nmse = None

    def fill(self, x):
        self.index = self.build(x)

    def search(self, q):
        return self.index.search(q, BEST, 1, None, self.threads)[0].astype(numpy.int64)

    def begin(self):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("op", choices=["encode", "scan"])
    for name in ("vectors", "queries", "nearest"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--min-ms", type=float, default=20)
    o = parser.parse_args()
    x, q, nearest = numpy.load(o.vectors), numpy.load(o.queries), numpy.load(o.nearest)
    library, kind = o.name.split(":")
    peer = {"faiss": Faiss, "turbovec": TurboVec, "rabitqlib": RaBitQLib}[library](kind, x, o.threads)
    facts = {"dim": x.shape[1], "n": len(x), "bytes": peer.bytes, "version": peer.version}
    if o.op == "encode":
        peer.encode(x)
        nmse = peer.nmse(x) if peer.nmse else None
        if nmse is not None:
            facts["nmse"] = nmse
    else:
        peer.fill(x)
        trials = len(q) // o.batch * o.batch
        found = numpy.concatenate([peer.search(q[i:i + o.batch]) for i in range(0, trials, o.batch)])
        hits = found == nearest[:trials, None]
        facts["recall_at_1"], facts["recall_at_10"] = float(hits[:, 0].mean()), float(hits.any(axis=1).mean())
        peer.begin()
    first = numpy.ascontiguousarray(q[:o.batch])

    def once():
        if o.op == "encode":
            return peer.encode(x)
        start = time.perf_counter()
        peer.search(first)
        return time.perf_counter() - start

    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        runs = 1
        while True:
            took = sum(once() for _ in range(runs))
            if took >= o.min_ms / 1e3:
                break
            runs *= 2
        print(took / runs, flush=True)


main()
