"""Processes that kernels.py times in turn: each is started, says what it is, and then gives a value whenever it is asked.
All time themselves; a process that is not being asked sleeps."""
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys


class Failure(Exception):
    """A contestant that cannot run; the text says why."""


class Asked:
    """A program that prints facts as JSON, then a time in seconds for each line it gets; value turns that into what is compared."""

    def __init__(self, command, value, threads, facts=None):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
        self.value, self.command = value, command
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        try:
            self.facts = dict(json.loads(self.read()), **(facts or {}))
        except BaseException:
            self.close()
            raise

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failure("ended early: " + " ".join(map(str, self.command)))
        return line

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.value(float(self.read()), self.facts)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LlamaBench:
    """llama-bench decoding at a depth, which it fills once. It runs as many tests as there will be questions, one repeat each, waits a
    second before each (--delay), and is stopped in that second until it is asked: so its own times hold nothing of the wait."""

    def __init__(self, program, model, cache, depth, steps, threads, questions):
        self.command = [program, "-m", model, "-p", 0, "-n", ",".join([str(steps)] * (questions + 1)), "-d", depth, "-ctk", cache,
                        "-ctv", cache, "-fa", 1, "-t", threads, "-r", 1, "--delay", 1, "-o", "jsonl"]
        self.process = subprocess.Popen([str(c) for c in self.command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.facts = {}
        try:
            self.first = self.read()           # after filling the cache
        except BaseException:
            self.close()
            raise

    def read(self):
        line = self.process.stdout.readline()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)
        if not line:
            raise Failure("ended early: " + " ".join(map(str, self.command)))
        row = json.loads(line)
        self.facts = {"version": row["build_commit"], "weights": row["model_type"], "cache": row["type_k"]}
        return row["avg_ts"]

    def ask(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        return self.read()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class KvantRun:
    """`kvant run` of the probe throughput, one repeat per question, loading and filling the cache anew each time; its value is
    decode_tokens_per_s. `folder` holds spec and stores."""

    def __init__(self, program, model, data, quantizer, depth, steps, threads, weights, folder):
        self.program, self.name = program, "peers"
        os.makedirs(folder, exist_ok=True)
        self.spec, self.checked, self.store = (os.path.join(folder, f) for f in ("spec.json", "checked.db", "run.db"))
        with open(self.spec, "w", encoding="utf-8") as f:
            json.dump({"name": self.name, "probe": "throughput", "model": model, "data": data, "depth": depth, "steps": steps,
                       "repeats": 1, "n": 64, "min_ms": 0.1, "weights": weights, "key": quantizer, "value": "same"}, f)
        self.options = ["--threads", str(threads)]
        self.run(self.checked, ["--set", "depth=1"])       # the quantizer's checks, once
        self.facts = {"parts": {}}

    def run(self, store, more):
        done = subprocess.run([self.program, "run", self.spec, "--store", store] + self.options + more, capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise Failure("kvant run: " + done.stderr.strip()[-2000:])

    def ask(self):
        shutil.copyfile(self.checked, self.store)
        self.run(self.store, [])
        report = subprocess.run([self.program, "report", self.name, "--store", self.store, "--format", "csv"],
                                capture_output=True, text=True, check=True)
        values = {row["metric"]: float(row["value"]) for row in csv.DictReader(io.StringIO(report.stdout))}
        self.facts["parts"] = {m: v for m, v in values.items() if m.startswith("decode_") and m.endswith("_ms")}
        return values["decode_tokens_per_s"]

    def close(self):
        for path in (self.spec, self.checked, self.store):
            for end in ("", "-wal", "-shm"):
                if os.path.exists(path + end):
                    os.remove(path + end)


if __name__ == "__main__":
    sys.exit("contestants.py: kernels.sh is the script to run")
