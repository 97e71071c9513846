/* bundle.h - one experiment as a folder that a paper's appendix can hold: what was asked, what came out, how, on what, and hashes.
 *   manifest.json   {"bundle": 1, "experiment", "version", "commit", "runs": [{started, version, commit, dirty, compiler, flags, cpu,
 *                    gpu, libraries, isa, threads, command}], "inputs": [{"name", "sha256"}], "plots_left_out": [{"plot", "reason"}],
 *                    "files": [{"path", "bytes", "sha256"}]}: every file of the folder but itself
 *   spec.json       the spec, as it stood
 *   store.db        the part of the store that is the experiment's: a store like any other
 *   results.csv, report.md, report.html    `kvant report` of it
 *   commands.txt    the command lines that made it, and those that make it again
 *   plots/          NAME-PLOT.svg and .pdf, of each plot that the experiment has data for */
#ifndef KVANT_BUNDLE_H
#define KVANT_BUNDLE_H

#include "harness/store/store.h"

typedef struct {
    const char *store;             /* path of the store */
    const char *experiment;
    const char *folder;            /* to be made; it must not be there, or be empty */
    const char *plots;             /* the folder of plots; NULL: none are drawn */
} bundle_options;

/* Writes a bundle: it is there whole or not at all. hash: of its manifest, which stands for all of it. KVANT_INVALID: no such
 * experiment, cells of it are not finished, or the folder is there. */
kvant_status bundle_write(const bundle_options *options, char hash[SHA256_HEX], kvant_error *err);

/* Verifies a bundle: every file is there, regular, and of the hash that the manifest says; nothing else is there; the store is one of
 * this schema, sound, holds that experiment alone, with that spec, and its cells are what their keys say. With `into`, its experiment
 * then goes into that store (store_merge); *cells counts what was new. Nothing of the bundle is used before all of it is verified, and
 * the store is opened as a copy, so that nobody can change it in between. KVANT_FAILED names the file that is not as it was written;
 * KVANT_INVALID says what makes the folder no bundle, or that `into` has another experiment of that name. */
typedef struct { char experiment[65], hash[SHA256_HEX]; size_t files; uint64_t bytes, cells; } bundle_info;
kvant_status bundle_read(const char *folder, const char *into, bundle_info *info, kvant_error *err);

/* A path of the manifest names a file below the bundle and nothing else: no "..", no "/" in front, plain characters. */
bool bundle_path_ok(const char *path);

#endif
