#!/bin/sh
# `make demo`: from a clone to a printed table and two pictures. A second call finds everything done.
set -eu

sh harness/deps.sh install build
"${MAKE:-make}" --no-print-directory -j "$(nproc)" MODE=release all
./kvant fetch smollm2-135m jargon
./kvant run experiments/demo.json
echo
./kvant report demo
for picture in pareto needle; do
    ./kvant plot "$picture" demo --format svg --format png
done
echo
echo "Measurements: results/kvant.db (SQLite; ask view \"result\")"
echo "Pictures:     results/demo-pareto.svg, results/demo-needle.svg (and .png)"
echo "Spec:         experiments/demo.json; change it and call: ./kvant run experiments/demo.json"
