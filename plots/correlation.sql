-- Do two measures put quantizers into the same order? A panel for each model, a point for each quantizer, the most misplaced named
-- :pairs = 1   how many pairs of measures of a question, from its first
-- Asked by --set question=NAME of the spec (all when nothing is said), or --set x=METRIC --set y=METRIC.
WITH answer AS (
  SELECT key AS place, value, json_extract(value, '$.x') AS x_name, json_extract(value, '$.y') AS y_name,
         coalesce(json_extract(value, '$.model'), '') AS model, json_extract(value, '$.data') AS data,
         json_extract(value, '$.setting') AS setting, json_extract(value, '$.rho') AS rho, json_extract(value, '$.lo') AS lo,
         json_extract(value, '$.hi') AS hi, json_extract(value, '$.n') AS n
  FROM json_each(:correlations) WHERE json_extract(value, '$.stored_bits') = 'all'
), paired AS (
  SELECT *, dense_rank() OVER (ORDER BY first) AS pair
  FROM (SELECT *, min(place) OVER (PARTITION BY x_name, y_name) AS first FROM answer)
), panel AS (
  SELECT *, row_number() OVER (ORDER BY place) AS panel, count(*) OVER () AS n_panels,
         (SELECT count(DISTINCT data) FROM answer) AS n_data
  FROM paired WHERE pair <= :pairs
), point AS (
  SELECT q.*, json_extract(p.value, '$.label') AS label, json_extract(p.value, '$.x') AS x, json_extract(p.value, '$.y') AS y,
         json_extract(p.value, '$.x_lo') AS x_lo, json_extract(p.value, '$.x_hi') AS x_hi, json_extract(p.value, '$.y_lo') AS y_lo,
         json_extract(p.value, '$.y_hi') AS y_hi, json_extract(p.value, '$.rank_x') - json_extract(p.value, '$.rank_y') AS off,
         json_extract(p.value, '$.key_quantizer') AS key_quantizer,
         coalesce(nullif(json_extract(p.value, '$.value_quantizer'), ''), json_extract(p.value, '$.key_quantizer')) AS value_quantizer
  FROM panel q, json_each(q.value, '$.points') p
)
SELECT CASE WHEN key_quantizer = value_quantizer THEN key_quantizer ELSE 'K ' || key_quantizer || ' / V ' || value_quantizer END AS series,
       panel, x, y, coalesce(x_lo, x) AS x_lo, coalesce(x_hi, x) AS x_hi, coalesce(y_lo, y) AS y_lo, coalesce(y_hi, y) AS y_hi, label,
       row_number() OVER (PARTITION BY panel ORDER BY abs(off) DESC, label) AS misplaced, n_panels,
       CASE WHEN model = '' THEN data ELSE model END || CASE WHEN n_data > 1 AND model <> '' THEN ', ' || data ELSE '' END ||
       CASE WHEN setting = '' THEN '' ELSE ', ' || setting END ||
       printf(': ρ = %.2f', rho) || coalesce(printf(' [%.2f, %.2f]', lo, hi), '') || printf(', n = %d', n) AS words, x_name, y_name,
       abs(off) AS places, off > 0 AS above, max(length(label)) OVER () AS letters
FROM point ORDER BY series, panel, x
