-- The store: one SQLite file, every table STRICT. Everything that is printed, plotted or exported is a query on the views.
PRAGMA user_version = 1;

CREATE TABLE run (                 -- a process that computed something
  id INTEGER PRIMARY KEY,
  started TEXT NOT NULL, version TEXT NOT NULL, commit_id TEXT NOT NULL, dirty INTEGER NOT NULL,
  compiler TEXT NOT NULL, flags TEXT NOT NULL, cpu TEXT NOT NULL, gpu TEXT NOT NULL, libraries TEXT NOT NULL,
  isa TEXT NOT NULL, threads INTEGER NOT NULL, command TEXT NOT NULL
) STRICT;

CREATE TABLE experiment (name TEXT PRIMARY KEY, spec TEXT NOT NULL) STRICT;

CREATE TABLE cell (                -- one point of a sweep, known by the hash of its config
  key TEXT PRIMARY KEY,
  pairing TEXT NOT NULL,           -- equal for cells that differ in the quantizers only
  config TEXT NOT NULL,            -- canonical JSON
  probe TEXT NOT NULL, model TEXT, data TEXT,
  key_quantizer TEXT, key_params TEXT, value_quantizer TEXT, value_params TEXT,
  label TEXT NOT NULL,
  reference INTEGER NOT NULL,      -- 1: the f16 cell of its pairing
  bits_asked REAL NOT NULL, bits_stored REAL NOT NULL,
  units INTEGER NOT NULL,
  finished TEXT,                   -- NULL: units are missing
  run INTEGER REFERENCES run(id)
) STRICT;
CREATE INDEX cell_pairing ON cell(pairing);

CREATE TABLE experiment_cell (
  experiment TEXT NOT NULL REFERENCES experiment(name) ON DELETE CASCADE,
  ordinal INTEGER NOT NULL,
  cell TEXT NOT NULL REFERENCES cell(key) ON DELETE CASCADE,
  PRIMARY KEY (experiment, cell)
) STRICT, WITHOUT ROWID;

CREATE TABLE unit (                -- a finished piece of a cell; its samples came in the same transaction
  cell TEXT NOT NULL REFERENCES cell(key) ON DELETE CASCADE,
  unit INTEGER NOT NULL,
  run INTEGER NOT NULL REFERENCES run(id),
  seconds REAL NOT NULL,           -- of the whole unit
  seconds_model REAL NOT NULL,     -- of it, inside the model
  PRIMARY KEY (cell, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE sample (              -- raw values, per chunk, trial or repeat
  cell TEXT NOT NULL, unit INTEGER NOT NULL,
  metric TEXT NOT NULL, chunk INTEGER NOT NULL, idx INTEGER NOT NULL,
  value REAL, n REAL NOT NULL,     -- value is NULL when it was not finite
  PRIMARY KEY (cell, unit, metric, chunk, idx),
  FOREIGN KEY (cell, unit) REFERENCES unit(cell, unit) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE measurement (
  cell TEXT NOT NULL REFERENCES cell(key) ON DELETE CASCADE,
  metric TEXT NOT NULL, unit TEXT NOT NULL,
  better INTEGER NOT NULL, timing INTEGER NOT NULL,
  value REAL, n REAL NOT NULL, se REAL, lo REAL, hi REAL,
  PRIMARY KEY (cell, metric)
) STRICT, WITHOUT ROWID;

CREATE TABLE skip (
  experiment TEXT NOT NULL REFERENCES experiment(name) ON DELETE CASCADE,
  label TEXT NOT NULL, config TEXT NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (experiment, config)
) STRICT, WITHOUT ROWID;

CREATE TABLE "check" (             -- an oracle or gate, by the code version that was checked
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run(id),
  quantizer TEXT NOT NULL, code_version TEXT NOT NULL, target TEXT NOT NULL,
  name TEXT NOT NULL, input TEXT, args TEXT, metric TEXT, source TEXT,
  measured REAL, expected REAL, se REAL, z REAL,
  verdict TEXT NOT NULL CHECK (verdict IN ('pass', 'fail', 'skip'))
) STRICT;
CREATE INDEX check_version ON "check"(quantizer, code_version);
