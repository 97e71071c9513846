-- Angles of recursive polar coordinates with their analytic densities, as probe angles counts them, by cell and level
-- :panels = 24   how many, by the cells' order in the spec
-- report: angles
WITH counted AS (
  SELECT r.ordinal, r.cell, r.label, coalesce(json_extract(r.config, '$.data.params.distribution'), r.data) AS data,
         s.chunk AS level, s.idx AS bin, sum(s.value) AS count
  FROM result r JOIN sample s ON s.cell = r.cell AND s.metric = 'angle_count'
  WHERE r.experiment = :experiment AND r.metric = 'angle_ks_1' AND r.control IS NULL GROUP BY r.cell, s.chunk, s.idx
), numbered AS (
  SELECT *, dense_rank() OVER (ORDER BY ordinal, cell, level) AS panel, min(data) OVER () = max(data) OVER () AS alone,
         sum(count) OVER (PARTITION BY cell, level) AS total, (CASE level WHEN 1 THEN 2 ELSE 0.5 END) * 3.141592653589793 / 64 AS width
  FROM counted
), fit AS (
  SELECT cell, metric, value FROM result WHERE experiment = :experiment
)
SELECT label || CASE WHEN alone THEN '' ELSE ', ' || data END || ', level ' || level AS series,
       (bin + 0.5) * width AS angle, count / total / width AS density, width, level, k.value AS ks, x.value AS chi2,
       CASE WHEN alone THEN data ELSE '' END AS subject, max(level) OVER () AS levels
FROM numbered n
JOIN fit k ON k.cell = n.cell AND k.metric = 'angle_ks_' || level
JOIN fit x ON x.cell = n.cell AND x.metric = 'angle_chi2_' || level
WHERE panel <= :panels ORDER BY panel, bin
