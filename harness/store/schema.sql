-- The store: one SQLite file, every table STRICT. Everything that is printed, plotted or exported is a query on the views.
PRAGMA application_id = 1263952238;   -- "KVan": what kind of file this is
PRAGMA user_version = 3;

CREATE TABLE run (                 -- a process that computed something
  id INTEGER PRIMARY KEY,
  started TEXT NOT NULL, version TEXT NOT NULL, commit_id TEXT NOT NULL, dirty INTEGER NOT NULL,
  compiler TEXT NOT NULL, flags TEXT NOT NULL, cpu TEXT NOT NULL, gpu TEXT NOT NULL, libraries TEXT NOT NULL,
  isa TEXT NOT NULL, threads INTEGER NOT NULL, command TEXT NOT NULL
) STRICT;

CREATE TABLE experiment (name TEXT PRIMARY KEY, spec TEXT NOT NULL CHECK (json_valid(spec))) STRICT;

CREATE TABLE cell (                -- one point of a sweep, known by the hash of its config
  key TEXT PRIMARY KEY,
  pairing TEXT NOT NULL,           -- equal for cells that differ in the quantizers only
  config TEXT NOT NULL CHECK (json_valid(config)),     -- canonical
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

CREATE TABLE cell_group (          -- what codes each layer, KV head and side of a cell; vectors are one group
  cell TEXT NOT NULL REFERENCES cell(key) ON DELETE CASCADE,
  layer INTEGER NOT NULL, head INTEGER NOT NULL, side TEXT NOT NULL CHECK (side IN ('key', 'value', 'vector')),
  quantizer TEXT NOT NULL, params TEXT NOT NULL CHECK (json_valid(params)),
  bits_asked REAL NOT NULL, bits_stored REAL NOT NULL,     -- per coordinate that is coded: what the policy keeps in f16 is not in it
  PRIMARY KEY (cell, layer, head, side)
) STRICT, WITHOUT ROWID;

CREATE TABLE experiment_cell (
  experiment TEXT NOT NULL REFERENCES experiment(name) ON DELETE CASCADE,
  cell TEXT NOT NULL REFERENCES cell(key) ON DELETE CASCADE,
  ordinal INTEGER NOT NULL,
  PRIMARY KEY (experiment, cell)
) STRICT, WITHOUT ROWID;

CREATE TABLE control (             -- cells that show whether an experiment can tell good caches from bad ones, for each pairing
  experiment TEXT NOT NULL REFERENCES experiment(name) ON DELETE CASCADE,
  pairing TEXT NOT NULL,
  role TEXT NOT NULL,              -- what it is a control as: f16_again, q8_0, q4_0, q4_0_hadamard, control_broken
  cell TEXT NOT NULL,              -- its key, also where it was skipped and there is no such cell
  added INTEGER NOT NULL,          -- 1: it is there as a control alone; the spec does not name it
  reason TEXT,                     -- why the plan skipped it
  PRIMARY KEY (experiment, pairing, role)
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
  config TEXT NOT NULL, label TEXT NOT NULL, reason TEXT NOT NULL,
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

-- ---- Views: only finished cells are in them -------------------------------------------------------------------------------

CREATE VIEW result AS              -- one row per experiment, cell and metric; control: NULL for all that the spec asks for
SELECT e.experiment, e.ordinal, c.probe, c.model, c.data, c.label,
       c.key_quantizer, c.key_params, c.value_quantizer, c.value_params, c.config, c.reference, c.bits_asked, c.bits_stored,
       m.metric, m.value, m.se, m.lo, m.hi, m.n, m.unit, m.better, m.timing, c.pairing, c.key AS cell,
       (SELECT k.role FROM control k WHERE k.experiment = e.experiment AND k.pairing = c.pairing AND k.cell = c.key AND k.added) AS control
FROM experiment_cell e JOIN cell c ON c.key = e.cell JOIN measurement m ON m.cell = c.key
WHERE c.finished IS NOT NULL;

-- Cells that no comparable one (same experiment and pairing, no added control) beats in both bits_stored and value.
CREATE VIEW pareto AS
SELECT r.* FROM result r
WHERE r.better <> 0 AND r.value IS NOT NULL AND r.control IS NULL AND NOT EXISTS (
  SELECT 1 FROM result o
  WHERE o.experiment = r.experiment AND o.pairing = r.pairing AND o.metric = r.metric AND o.control IS NULL
    AND o.bits_stored <= r.bits_stored AND o.value * r.better >= r.value * r.better
    AND (o.bits_stored < r.bits_stored OR o.value * r.better > r.value * r.better));

CREATE VIEW against AS             -- each finished cell and the finished reference of its pairing, within one experiment
SELECT * FROM (
  SELECT e.experiment, e.ordinal, c.key AS cell, (
    SELECT r.key FROM cell r JOIN experiment_cell x ON x.cell = r.key AND x.experiment = e.experiment
    WHERE r.pairing = c.pairing AND r.reference = 1 AND r.finished IS NOT NULL
    ORDER BY r.finished DESC, r.key LIMIT 1) AS reference_cell
  FROM experiment_cell e JOIN cell c ON c.key = e.cell
  WHERE c.finished IS NOT NULL)
WHERE reference_cell <> cell;

-- Differences to the reference, per metric of the samples, over values of equal unit, chunk and idx. Within a chunk they are
-- averaged by weight; the chunks are the clusters of a ratio estimator, lo..hi is its 95 % interval by Student's t with n - 1
-- degrees of freedom: the quantile from a table below 10 degrees, above by its series about the normal one (off by less than 1e-5).
-- One value that was not finite makes the difference NULL.
CREATE VIEW paired AS
WITH student(dof, t) AS (
  VALUES (1, 12.706204736), (2, 4.3026527297), (3, 3.1824463053), (4, 2.7764451052), (5, 2.5705818366),
         (6, 2.4469118511), (7, 2.3646242516), (8, 2.3060041352), (9, 2.2621571628)
)
SELECT q.experiment, q.ordinal, c.probe, c.model, c.data, c.label, c.bits_stored, q.metric, q.reference_value, q.difference, q.se,
       q.difference - q.t * q.se AS lo, q.difference + q.t * q.se AS hi, q.n,
       coalesce((SELECT m.timing FROM measurement m WHERE m.cell = q.cell AND m.metric = q.metric), 0) AS timing,
       c.pairing, c.reference, q.cell, q.reference_cell
FROM (
  SELECT experiment, ordinal, cell, reference_cell, metric, n, reference_value, difference,
         sqrt(n / (n - 1.0) * sum((wd - w * difference) * (wd - w * difference))) / weight AS se,
         coalesce((SELECT t FROM student WHERE dof = n - 1), 1.959963984540 + (2.372271230299 + (2.822498615740 +
         (2.555849679508 + 1.589534053393 / (n - 1)) / (n - 1)) / (n - 1)) / (n - 1)) AS t
  FROM (
    SELECT *, count(*) OVER cells AS n, sum(w) OVER cells AS weight, sum(wr) OVER cells / sum(w) OVER cells AS reference_value,
           CASE WHEN sum(broken) OVER cells = 0 THEN sum(wd) OVER cells / sum(w) OVER cells END AS difference
    FROM (
      SELECT a.experiment, a.ordinal, a.cell, a.reference_cell, s.metric, sum(s.n) AS w, sum(s.n * (s.value - r.value)) AS wd,
             sum(s.n * r.value) AS wr, count(*) - count(s.value - r.value) AS broken
      FROM against a JOIN sample s ON s.cell = a.cell
      JOIN sample r ON r.cell = a.reference_cell AND r.unit = s.unit AND r.metric = s.metric AND r.chunk = s.chunk
                   AND r.idx = s.idx
      WHERE s.metric <> 'logits_digest'
      GROUP BY a.experiment, a.cell, s.metric, s.chunk)
    WINDOW cells AS (PARTITION BY experiment, cell, metric))
  GROUP BY experiment, cell, metric) q
JOIN cell c ON c.key = q.cell;

-- Different cells of one experiment and probe whose logits are equal bit for bit, by the digests that their probe stores; where it stores
-- none, whose samples of a metric are: a setting that was not applied, most likely. Counts, hits and single figures (bytes, ratios)
-- coincide honestly, so that of metrics only those with several values, not all integers, tell, and none that only describes the data
-- (better = 0). Not listed: references among themselves and run again; cells that differ in seeds or kernels alone, for many methods use
-- no seed and a good kernel changes no bit, or in how the work is cut; and what is equal by definition: groups that all have the same
-- quantizers, however that was said, and f16 kept in f16.
CREATE VIEW identical AS
WITH print AS (
  SELECT e.experiment, e.ordinal, s.cell, s.metric, count(*) AS n, sum(s.value) AS total
  FROM experiment_cell e JOIN cell c ON c.key = e.cell JOIN sample s ON s.cell = e.cell
  WHERE c.finished IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM measurement m WHERE m.cell = s.cell AND m.metric = s.metric AND (m.timing OR m.better = 0))
  GROUP BY e.experiment, e.cell, s.metric HAVING s.metric = 'logits_digest' OR count(*) > 1 AND max(s.value <> round(s.value))
), said AS (
  SELECT key, CASE WHEN key_quantizer = 'f16' AND value_quantizer = 'f16' THEN json_remove(config, '$.sink', '$.sliding', '$.window')
              ELSE config END AS config
  FROM (SELECT key, key_quantizer, value_quantizer,
               json_remove(config, '$.seed', '$.seed_rule', '$.isa', '$.code', '$.repeat', '$.probe.params.batch',
                           '$.probe.params.lockstep', '$.probe.params.reference_mib') AS config FROM cell)
)
SELECT a.experiment, x.probe, a.metric, x.label, y.label AS other_label, x.pairing, y.pairing AS other_pairing,
       a.cell, b.cell AS other_cell
FROM print a
JOIN print b ON b.experiment = a.experiment AND b.metric = a.metric AND b.n = a.n AND b.total = a.total
            AND (a.ordinal, a.cell) < (b.ordinal, b.cell)
JOIN cell x ON x.key = a.cell
JOIN cell y ON y.key = b.cell AND y.probe = x.probe
JOIN said p ON p.key = a.cell
JOIN said q ON q.key = b.cell
WHERE NOT (x.reference AND y.reference) AND p.config <> q.config
  AND (a.metric = 'logits_digest' OR NOT EXISTS (SELECT 1 FROM sample s WHERE s.cell = a.cell AND s.metric = 'logits_digest'))
  AND coalesce(json_extract(x.config, '$.allocation.sha256') <> json_extract(y.config, '$.allocation.sha256'), 1)
  AND (json_remove(p.config, '$.allocation', '$.key', '$.value') <> json_remove(q.config, '$.allocation', '$.key', '$.value')
       OR NOT EXISTS (SELECT 1 FROM cell_group WHERE cell = a.cell)
       OR EXISTS (SELECT layer, head, side, quantizer, params FROM cell_group WHERE cell = a.cell
                  EXCEPT SELECT layer, head, side, quantizer, params FROM cell_group WHERE cell = b.cell)
       OR EXISTS (SELECT layer, head, side, quantizer, params FROM cell_group WHERE cell = b.cell
                  EXCEPT SELECT layer, head, side, quantizer, params FROM cell_group WHERE cell = a.cell))
  AND NOT EXISTS (
    SELECT 1 FROM sample s LEFT JOIN sample t
      ON t.cell = b.cell AND t.unit = s.unit AND t.metric = s.metric AND t.chunk = s.chunk AND t.idx = s.idx
    WHERE s.cell = a.cell AND s.metric = a.metric AND (t.cell IS NULL OR s.value IS NOT t.value));

-- Needles of a grid taken together: found and asked for over all depths and lengths, with Wilson's 95 % interval.
CREATE VIEW needle AS
SELECT experiment, ordinal, model, data, label, settings, reference, bits_asked, bits_stored, found, n, found / n AS value,
       CASE WHEN found > 0 THEN (found + z2 / 2 - half) / (n + z2) ELSE 0.0 END AS lo,
       CASE WHEN found < n THEN (found + z2 / 2 + half) / (n + z2) ELSE 1.0 END AS hi, log_prob
FROM (
  SELECT *, 3.841458820694124 AS z2, sqrt(3.841458820694124 * (found * (n - found) / n + 3.841458820694124 / 4)) AS half
  FROM (
    SELECT r.experiment, min(r.ordinal) AS ordinal, r.model, r.data, r.label,
           json_remove(json_extract(r.config, '$.probe.params'), '$.depth', '$.length') AS settings, max(r.reference) AS reference,
           avg(r.bits_asked) AS bits_asked, avg(r.bits_stored) AS bits_stored, sum(round(r.value * r.n)) AS found, sum(r.n) AS n,
           avg(m.value) AS log_prob
    FROM result r LEFT JOIN measurement m ON m.cell = r.cell AND m.metric = 'needle_log_prob'
    WHERE r.metric = 'needle_accuracy'
    GROUP BY r.experiment, r.model, r.data, r.label, settings, json_extract(r.config, '$.isa')));

-- What sets a pairing apart from the others of its experiment and probe, e.g. "path decode"; '' when nothing does.
CREATE VIEW setting AS
WITH pairings AS (
  SELECT DISTINCT e.experiment, c.probe, c.pairing, c.model, c.data, json_extract(c.config, '$.probe.params') AS params
  FROM experiment_cell e JOIN cell c ON c.key = e.cell WHERE c.finished IS NOT NULL
), facts AS (
  SELECT experiment, probe, pairing, 1 AS place, 'model' AS name, model AS fact, model AS words FROM pairings
  UNION ALL SELECT experiment, probe, pairing, 2, 'data', data, data FROM pairings
  UNION ALL SELECT p.experiment, p.probe, p.pairing, 3, j.key, j.value, j.key || ' ' || j.value FROM pairings p, json_each(p.params) j
), varying AS (
  SELECT experiment, probe, place, name FROM facts GROUP BY experiment, probe, place, name HAVING count(DISTINCT fact) > 1
)
SELECT p.experiment, p.probe, p.pairing, coalesce((
  SELECT group_concat(words, ', ') FROM (
    SELECT f.words FROM facts f JOIN varying USING (experiment, probe, place, name)
    WHERE f.experiment = p.experiment AND f.probe = p.probe AND f.pairing = p.pairing ORDER BY place, name)), '') AS setting
FROM pairings p;
