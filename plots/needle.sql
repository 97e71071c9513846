-- Needles found, by depth and length of the haystack, a panel for each quantizer, the reference first
WITH point AS (
  SELECT r.ordinal, r.reference, r.label, r.bits_stored, r.value, r.n, json_extract(r.config, '$.probe.params.depth') AS depth,
         json_extract(r.config, '$.probe.params.length') AS length, r.model, r.data,
         json_remove(json_extract(r.config, '$.probe.params'), '$.depth', '$.length') AS settings
  FROM result r WHERE r.experiment = :experiment AND r.metric = 'needle_accuracy' AND r.value IS NOT NULL
), panel AS (
  SELECT p.*, w.found, w.n AS needles, dense_rank() OVER (ORDER BY p.model, p.data, p.settings) AS setting
  FROM point p JOIN needle w ON w.experiment = :experiment AND w.label = p.label AND w.settings = p.settings
                            AND w.model IS p.model AND w.data IS p.data
)
SELECT label || CASE WHEN max(setting) OVER () > 1 THEN ' (setting ' || setting || ')' ELSE '' END AS series,
       dense_rank() OVER (ORDER BY length) AS column, dense_rank() OVER (ORDER BY depth) AS row, length, depth, value,
       CAST(round(value * n) AS INTEGER) || '/' || CAST(n AS INTEGER) AS words,
       CAST(found AS INTEGER) || ' of ' || CAST(needles AS INTEGER) AS total,
       coalesce(model || ', ', '') || data AS subject
FROM panel ORDER BY setting, reference DESC, bits_stored, label, min(ordinal) OVER (PARTITION BY setting, label), row, column
