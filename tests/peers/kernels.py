"""Other libraries' kernels against ours, in turn, in one run: one table and one CSV file.
kernels.sh builds everything and starts this; its head says what is measured and how to read it.

A group is a set of contestants that are alive together and asked in turn, round by round: forwards in odd rounds, backwards in even
ones. Its pairs (theirs, ours) are rows of the table."""
import argparse
import csv
import os
import re
import subprocess
import sys
import time

import numpy

from contestants import Asked, Failure, KvantRun, LlamaBench

PAUSE = 0.05          # seconds between two contestants: threads that wait for work by spinning have gone to sleep
HADAMARD = "turboquant_mse:bits=4,rotation=hadamard"
SECTIONS = ("encode", "scan", "attention", "model")


def threads_text(n):
    return f"{n} thread" + ("s" if n > 1 else "")


class Run:
    """Options, the files that contestants share, and the rows that came out."""

    def __init__(self, options):
        self.o, self.rows, self.folder = options, [], options.work
        self.wrong, self.missing = [], []

    def path(self, name):
        return os.path.join(self.folder, name)

    def vectors(self, name, distribution, dim, n, seed):
        """A file of synthetic vectors, as our program draws them for itself from the same seed."""
        path = self.path(name)
        subprocess.run([self.o.bench, "vectors", "--distribution", distribution, "--dim", str(dim), "--n", str(n), "--seed", str(seed),
                        "--out", path], check=True)
        return path

    def wanted(self, peer):
        return re.search(self.o.only, peer) is not None

    def group(self, section, what, place, unit, makers, pairs):
        """makers: name -> function that starts the contestant. unit: what values are, greater or less being better."""
        pairs = [(theirs, ours) for theirs, ours in pairs if self.wanted(theirs)]
        named = [n for n in makers if any(n in pair for pair in pairs)]
        alive, values = {}, {}
        try:
            for name in named:
                print(f"  {section}, {what}: starting {name}", file=sys.stderr)
                try:
                    alive[name] = makers[name]()
                    values[name] = []
                except Failure as failure:
                    self.missing.append(f"{section}, {what}: {name}: {failure}")
            for repeat in range(self.o.repeats):
                print(f"  {section}, {what}: repeat {repeat + 1} of {self.o.repeats}", file=sys.stderr)
                for name in list(alive) if repeat % 2 == 0 else list(reversed(list(alive))):
                    time.sleep(PAUSE)
                    values[name].append(alive[name].ask())
        finally:
            for contestant in alive.values():
                contestant.close()
        for theirs, ours in pairs:
            if theirs in alive and ours in alive:
                self.rows.append(Row(section, what, place, unit, theirs, ours, alive[theirs].facts, alive[ours].facts, values[theirs],
                                     values[ours]))

    def hold(self, right, what):
        """What is timed must be the same thing: else the run fails, after its table."""
        if not right and what not in self.wrong:
            self.wrong.append(what)


class Row:
    def __init__(self, section, what, place, unit, theirs, ours, their_facts, our_facts, their_values, our_values):
        self.section, self.what, self.place, self.unit, self.theirs, self.ours = section, what, place, unit, theirs, ours
        self.facts, self.values = (their_facts, our_facts), (their_values, our_values)
        self.medians = tuple(float(numpy.median(v)) for v in self.values)
        less = unit == "ms"
        self.best = tuple(min(v) if less else max(v) for v in self.values)
        self.ratio = self.medians[0] / self.medians[1] if less else self.medians[1] / self.medians[0]

    def both(self, fact, text):
        """A fact of both, "theirs | ours"; of neither: nothing."""
        got = [f.get(fact) for f in self.facts]
        return "" if got == [None, None] else " | ".join("-" if g is None else format(g, text) for g in got)

    def notes(self):
        notes = [("bytes", "bytes", ".0f"), ("recall@1@10", "recall_at_10", ".3f"), ("@1", "recall_at_1", ".3f"),
                 ("output error", "output_error", ".2g"), ("nmse", "nmse", ".2g")]
        said = [f"{name} {self.both(fact, text)}" for name, fact, text in notes if self.both(fact, text)]
        target, parts = self.facts[1].get("target"), self.facts[1].get("parts")
        if parts:
            said.append(f"ours by ms: score {parts['decode_score_ms']:.3g}, mix {parts['decode_mix_ms']:.3g}, products "
                        f"{parts['decode_matmul_ms']:.3g}")
        return ", ".join(([target] if target else []) + said)


# ---- encode and scan --------------------------------------------------------------------------------------------

def index_makers(run, op, dim, batch, threads, names, ours):
    o = run.o
    x = run.vectors(f"x{dim}.npy", "sphere", dim, o.vectors, 0)
    q = run.vectors(f"q{dim}.npy", "sphere", dim, 1024, 1)
    nearest = run.path(f"nearest{dim}.npy")
    numpy.save(nearest, numpy.argmax(numpy.load(q) @ numpy.load(x).T, axis=1))

    def gigabytes(seconds, facts):
        return facts["n"] * facts["dim"] * 4 / seconds / 1e9

    def milliseconds(seconds, _):
        return seconds * 1e3

    value = gigabytes if op == "encode" else milliseconds
    shared = ["--threads", threads, "--min-ms", o.min_ms]
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "index_peer.py")
    makers = {}
    for name, kind in names.items():
        if kind.split(":")[0] in o.lacking:
            continue
        command = [sys.executable, peer, kind, op, "--vectors", x, "--queries", q, "--nearest", nearest, "--batch", batch] + shared
        makers[name] = lambda command=command: Asked(command, value, threads)
    for quantizer in ours:
        command = [o.bench, op, quantizer, "--ask", "--dim", dim, "--n", o.vectors, "--queries", batch, "--isa", o.isa] + shared
        makers[quantizer] = lambda command=command: Asked(command, value, threads)
    return makers


def encode(run):
    for dim in run.o.dims:
        pq, rabitq = f"pq:subspaces={dim},nbits=4", "rabitq:bits=4,rotation="
        names = {"faiss SQ4": "faiss:sq4", "faiss SQ8": "faiss:sq8", f"faiss PQ {dim}x4": "faiss:pq4",
                 f"faiss PQ {dim // 2}x8": "faiss:pq8", f"faiss PQ {dim}x4 fast scan": "faiss:pq4_fast_scan",
                 "faiss RaBitQ 4": "faiss:rabitq4", "faiss RaBitQ 4 fast scan": "faiss:rabitq4_fast_scan",
                 "faiss tqmse4": "faiss:tqmse4", "turbovec 4": "turbovec:tq4", "rabitqlib 4": "rabitqlib:rabitq4",
                 "rabitqlib 4 fast": "rabitqlib:rabitq4_fast", "rabitqlib 1": "rabitqlib:rabitq1"}
        pairs = [(name, HADAMARD) for name in names if name not in ("faiss SQ8", "rabitqlib 1")]
        pairs += [("faiss SQ8", "turboquant_mse:bits=8,rotation=hadamard"), ("turbovec 4", "turboquant_mse:bits=4,rotation=haar"),
                  ("faiss tqmse4", "turboquant_mse:bits=4,rotation=none"), (f"faiss PQ {dim}x4", pq),
                  ("faiss RaBitQ 4", rabitq + "none"),
                  ("rabitqlib 4", rabitq + "hadamard"), ("rabitqlib 1", "rabitq:bits=1,rotation=hadamard")]
        for threads in run.o.threads:
            makers = index_makers(run, "encode", dim, 1, threads, names, {ours for _, ours in pairs})
            run.group("encode", f"d={dim}, {threads_text(threads)}", {"dim": dim, "threads": threads}, "GB/s", makers,
                      sorted(pairs, key=lambda p: list(names).index(p[0])))
    for row in run.rows:
        if row.section == "encode" and row.theirs != "rabitqlib 1":        # one bit leaves more than half of the energy
            for name, facts in zip((row.theirs, row.ours), row.facts):
                run.hold(facts.get("nmse", 0) <= .05, f"encode, {row.what}: {name}: its codes decode to something else")


def scan(run):
    dim = 128
    names = {"faiss SQ4": "faiss:sq4", "faiss SQ8": "faiss:sq8", "faiss PQ 64x8": "faiss:pq8",
             "faiss PQ 128x4 fast scan": "faiss:pq4_fast_scan", "faiss RaBitQ 4": "faiss:rabitq4",
             "faiss RaBitQ 4 fast scan": "faiss:rabitq4_fast_scan", "faiss tqmse4": "faiss:tqmse4", "turbovec 4": "turbovec:tq4",
             "rabitqlib 4": "rabitqlib:rabitq4"}
    pairs = [(name, HADAMARD) for name in names if name != "faiss SQ8"]
    pairs += [("faiss SQ8", "turboquant_mse:bits=8,rotation=hadamard"), ("faiss RaBitQ 4", "rabitq:bits=4,rotation=none"),
              ("rabitqlib 4", "rabitq:bits=4,rotation=hadamard")]
    for threads in run.o.threads:
        for queries in (1, 8):
            makers = index_makers(run, "scan", dim, queries, threads, names, {ours for _, ours in pairs})
            what = f"{queries} quer{'y' if queries == 1 else 'ies'}, {threads_text(threads)}"
            run.group("scan", what, {"dim": dim, "threads": threads, "queries": queries}, "ms", makers,
                      sorted(pairs, key=lambda p: list(names).index(p[0])))
    for row in run.rows:
        for name, facts in zip((row.theirs, row.ours), row.facts):
            if row.section == "scan":
                run.hold(facts["recall_at_10"] >= .9, f"scan, {row.what}: {name} does not find what it should")


# ---- attention --------------------------------------------------------------------------------------------------

def exact_attention(k, v, q):
    """[n][dim] of queries that are not scaled, in double."""
    k, v, q = (numpy.load(path).astype(numpy.float64) for path in (k, v, q))
    w = q @ k.T / numpy.sqrt(k.shape[1])
    w = numpy.exp(w - w.max(axis=1, keepdims=True))
    return w / w.sum(axis=1, keepdims=True) @ v


# What is not attention over these keys and values is off by about all of it or more. Errors of a cache's vectors show larger in
# outputs, which are small beside independent values; ggml adds up f16 values in f16, which costs more the deeper a cache is.
MOST = {"f16": .1, "q8_0": .1, "q4_0": .5, HADAMARD: .5}


def attention(run):
    o, dim = run.o, 128
    k, v = (run.vectors(f"{name}.npy", "gaussian", dim, o.depth, seed) for name, seed in (("k", 0), ("v", 1)))
    types = ("f16", "q8_0", "q4_0")
    for threads in o.threads:
        for group in (1, 4):
            q = run.vectors(f"attention{group}.npy", "gaussian", dim, o.heads * group, 2)
            exact = exact_attention(k, v, q)

            def peer(kind, layout, q=q, exact=exact, group=group, threads=threads):
                out = run.path(f"{kind}-{layout}.f32")
                made = Asked([o.ggml, kind, layout, o.heads, group, threads, k, v, q, out], lambda s, _: s * 1e3, threads,
                             {"version": o.llama_version})
                got = numpy.fromfile(out, numpy.float32).reshape(exact.shape)
                error = numpy.linalg.norm(got - exact, axis=1) / numpy.linalg.norm(exact, axis=1)
                made.facts["output_error"] = float(error.mean())
                return made

            def ours(quantizer, group=group, threads=threads):
                command = [o.bench, "attention", quantizer, "--ask", "--n", o.depth, "--queries", group, "--heads", o.heads,
                           "--dim", dim, "--threads", threads, "--isa", o.isa]
                return Asked(command, lambda s, _: s * 1e3, threads)

            makers, pairs = {}, []
            for kind in types:
                makers[kind] = lambda kind=kind: ours(kind)
                for layout, name in (("token", f"ggml {kind}"), ("head", f"ggml {kind}, by head")):
                    makers[name] = lambda kind=kind, layout=layout: peer(kind, layout)
                    pairs += [(name, HADAMARD), (name, kind)]
            makers[HADAMARD] = lambda: ours(HADAMARD)
            what = f"{o.depth} tokens, {o.heads} KV heads, {group} quer{'y' if group == 1 else 'ies'} each, {threads_text(threads)}"
            run.group("attention", what, {"dim": dim, "threads": threads, "queries": group, "depth": o.depth}, "ms", makers, pairs)
    for row in run.rows:
        if row.section == "attention":
            for name, facts in zip((row.theirs, row.ours), row.facts):
                most = MOST[name.removeprefix("ggml ").removesuffix(", by head")]
                run.hold(facts["output_error"] <= most, f"attention, {row.what}: {name}: its output is not attention's")


# ---- model ------------------------------------------------------------------------------------------------------

def model(run):
    o = run.o
    ours = {"f16": "f16", "turboquant_mse 4 bits, hadamard": {"quantizer": "turboquant_mse", "bits": 4, "rotation": "hadamard"}}
    threads = max(o.threads)
    for depth in o.depths:
        makers = {}
        for kind in ("f16", "q8_0", "q4_0"):
            makers[f"llama-bench {kind}"] = lambda kind=kind: LlamaBench(o.llama_bench, o.model, kind, depth, o.steps, threads,
                                                                         o.repeats)
        for name, quantizer in ours.items():
            folder = run.path(re.sub(r"\W+", "-", name))
            makers[name] = lambda quantizer=quantizer, folder=folder: KvantRun(o.kvant, o.model, o.data, quantizer, depth, o.steps,
                                                                              threads, o.weights, folder)
        pairs = [(theirs, name) for theirs in list(makers)[:3] for name in reversed(ours)]
        run.group("model", f"depth {depth}, {threads_text(threads)}", {"threads": threads, "depth": depth}, "tokens/s", makers, pairs)


# ---- What came out ----------------------------------------------------------------------------------------------

def print_table(run):
    cpu = "".join(re.findall(r"^model name\s*: (.*)$", open("/proc/cpuinfo", encoding="utf-8").read(), re.M)[:1])
    print(f"{cpu or 'unknown processor'}, {os.cpu_count()} cores, load {run.load:.1f} at the start; medians of {run.o.repeats} "
          "interleaved repeats; ratio: above 1 ours is faster; what is in pairs: theirs | ours")
    units = {"encode": "encode, GB/s of f32", "scan": f"scan of {run.o.vectors} vectors of 128 for the 10 best, ms",
             "attention": "attention of one token, d=128, ms", "model": "decode, tokens/s"}
    for section in SECTIONS:
        rows = [r for r in run.rows if r.section == section]
        if not rows:
            continue
        print(f"\n{units[section]}")
        width = [max(len(getattr(r, field)) for r in rows) for field in ("theirs", "what", "ours")]
        print(f"  {'peer':{width[0]}}  {'what':{width[1]}}  {'theirs':>9}  {'ours':>9}  {'ratio':>6}  {'ours is':{width[2]}}")
        for r in rows:
            print(f"  {r.theirs:{width[0]}}  {r.what:{width[1]}}  {r.medians[0]:9.4g}  {r.medians[1]:9.4g}  {r.ratio:6.2f}  "
                  f"{r.ours:{width[2]}}  {r.notes()}".rstrip())
    versions = {r.theirs.split()[0]: r.facts[0].get("version") for r in run.rows}
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))


def write_csv(run, path):
    facts = ("bytes", "recall_at_10", "recall_at_1", "output_error", "nmse")
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["section", "dim", "threads", "queries", "depth", "peer", "peer_version", "ours", "target", "unit", "theirs",
                      "ours_median", "ratio", "theirs_best", "ours_best", "repeats"] +
                     [f"{who}_{fact}" for fact in facts for who in ("theirs", "ours")] + ["theirs_all", "ours_all"])
        for r in run.rows:
            out.writerow([r.section] + [r.place.get(p, "") for p in ("dim", "threads", "queries", "depth")] +
                         [r.theirs, r.facts[0].get("version", ""), r.ours, r.facts[1].get("target", ""), r.unit, *r.medians, r.ratio,
                          *r.best, run.o.repeats] + [who.get(fact, "") for fact in facts for who in r.facts] +
                         [" ".join(f"{x:.6g}" for x in v) for v in r.values])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="+", choices=SECTIONS)
    for name in ("bench", "kvant", "work", "csv"):
        parser.add_argument("--" + name, required=True)
    for name in ("ggml", "llama-bench", "llama-version", "model", "data", "weights", "isa", "only"):
        parser.add_argument("--" + name)
    for name in ("repeats", "vectors", "depth", "heads", "steps"):
        parser.add_argument("--" + name, type=int)
    for name in ("dims", "threads", "depths"):
        parser.add_argument("--" + name, type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--min-ms", type=float, default=20)
    parser.add_argument("--lacking", type=lambda text: text.split(), default=[])
    run = Run(parser.parse_args())
    run.load = os.getloadavg()[0]
    for section in SECTIONS:
        if section in run.o.sections:
            {"encode": encode, "scan": scan, "attention": attention, "model": model}[section](run)
    if not run.rows:
        sys.exit("kernels.py: nothing was compared: " + "; ".join(run.missing or ["--only matches no peer"]))
    print_table(run)
    write_csv(run, run.o.csv)
    for text in run.missing:
        print("did not run: " + text)
    for text in run.wrong:
        print("WRONG: " + text)
    return 1 if run.wrong or run.missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as stopped:
        sys.exit(f"kernels.py: {stopped}")
