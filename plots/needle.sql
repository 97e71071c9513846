-- Needles found, by depth and length of the haystack, the reference first, and the others' differences to it
-- :differences = 1   0 leaves them out
-- report: needle
WITH point AS (
  SELECT r.ordinal, r.reference, r.label, r.bits_stored, r.value, r.n, json_extract(r.config, '$.probe.params.depth') AS depth,
         json_extract(r.config, '$.probe.params.length') AS length, r.model, r.data,
         json_remove(json_extract(r.config, '$.probe.params'), '$.depth', '$.length') AS settings
  FROM result r WHERE r.experiment = :experiment AND r.metric = 'needle_accuracy' AND r.value IS NOT NULL
), panel AS (
  SELECT p.*, w.found, w.n AS needles, min(p.ordinal) OVER (PARTITION BY p.model, p.data, p.settings) AS setting_first,
         coalesce(p.model || ', ', '') || p.data AS subject,
         dense_rank() OVER (ORDER BY p.model) AS model_number, dense_rank() OVER (ORDER BY p.data) AS data_number
  FROM point p JOIN needle w ON w.experiment = :experiment AND w.label = p.label AND w.settings = p.settings
                            AND w.model IS p.model AND w.data IS p.data
), numbered AS (
  SELECT *, dense_rank() OVER (ORDER BY setting_first, model, data, settings) AS setting, max(model_number) OVER () > 1 AS models,
         max(data_number) OVER () > 1 AS texts FROM panel
), named AS (
  SELECT *, json_extract(settings, '$.needle_kind') || ' of ' || json_extract(settings, '$.needle_of') AS kind,
         CASE WHEN models AND texts THEN ', ' || subject WHEN models THEN ', ' || model WHEN texts THEN ', ' || data
                 ELSE '' END AS of_subject,
         max(setting) OVER (PARTITION BY subject) > min(setting) OVER (PARTITION BY subject) AS settings_differ,
         dense_rank() OVER (PARTITION BY setting ORDER BY label) AS label_number
  FROM numbered
), map AS (
  SELECT *, label || of_subject ||
            CASE WHEN settings_differ THEN ' (setting ' || setting || coalesce(': ' || kind, '') || ')' ELSE '' END AS series,
         dense_rank() OVER (PARTITION BY setting ORDER BY length) AS column,
         dense_rank() OVER (PARTITION BY setting ORDER BY depth) AS row, CAST(round(value * n) AS INTEGER) AS right,
         min(ordinal) OVER (PARTITION BY setting, label) AS first
  FROM named
), difference AS (
  SELECT m.*, f.label AS other, m.value - f.value AS change, m.right - f.right AS more, sum(m.right - f.right) OVER one AS all_more,
         sum(m.n) OVER one AS asked
  FROM map m JOIN map f ON f.reference AND f.setting = m.setting AND f.row = m.row AND f.column = m.column AND f.n = m.n
  WHERE NOT m.reference AND :differences WINDOW one AS (PARTITION BY m.setting, m.label)
)
SELECT series, column, row, length, depth, value, right || '/' || CAST(n AS INTEGER) AS words,
       CAST(found AS INTEGER) || ' of ' || CAST(needles AS INTEGER) AS total,
       CASE WHEN models AND texts THEN '' WHEN models THEN data WHEN texts THEN coalesce(model, '') ELSE subject END AS subject,
       max(label_number) OVER () AS labels, max(setting) OVER () AS settings, 0 AS is_difference, setting, reference, bits_stored,
       label, first
FROM map
UNION ALL
SELECT series || ' − ' || other, column, row, length, depth, change,
       CASE more WHEN 0 THEN '0' ELSE replace(printf('%+d', more), '-', '−') END,
       CASE all_more WHEN 0 THEN '0' ELSE replace(printf('%+d', all_more), '-', '−') END || printf(' of %d', asked),
       '', 0, 0, 1, setting, reference, bits_stored, label, first
FROM difference
ORDER BY setting, is_difference, reference DESC, bits_stored, label, first, row, column
