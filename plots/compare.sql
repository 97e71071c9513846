-- Is A better than B? A row for each pair of cells, a mark with its paired interval for each model
-- :ratio = 1   the mean of A over that of B, where both are above 0; 0: differences
-- Asked by --set question=NAME of the spec (all of them when nothing is said), or --set a=A --set b=B; --metric for another metric.
WITH asked AS (
  SELECT key AS place, json_extract(value, '$.question') AS question, json_extract(value, '$.probe') AS probe,
         json_extract(value, '$.model') AS model, json_extract(value, '$.data') AS data, json_extract(value, '$.setting') AS setting,
         json_extract(value, '$.metric') AS metric, json_extract(value, '$.unit') AS unit, json_extract(value, '$.better') AS better,
         json_extract(value, '$.a') AS a, json_extract(value, '$.b') AS b, json_extract(value, '$.bits_a') AS bits_a,
         json_extract(value, '$.bits_b') AS bits_b, json_extract(value, '$.difference') AS difference, json_extract(value, '$.lo') AS lo,
         json_extract(value, '$.hi') AS hi, json_extract(value, '$.ratio') AS ratio, json_extract(value, '$.ratio_lo') AS ratio_lo,
         json_extract(value, '$.ratio_hi') AS ratio_hi, json_extract(value, '$.n') AS n, json_extract(value, '$.verdict') AS verdict
  FROM json_each(:comparisons) WHERE json_extract(value, '$.difference') IS NOT NULL
), counted AS (
  SELECT *, (SELECT count(DISTINCT data) FROM asked) AS n_data, (SELECT count(DISTINCT metric) FROM asked) AS n_metrics,
         (SELECT count(DISTINCT question) FROM asked) AS n_questions, :ratio AND (SELECT min(ratio IS NOT NULL) FROM asked) AS as_ratio,
         min(place) OVER (PARTITION BY question, a, b, metric) AS pair,
         CASE WHEN model = '' THEN probe ELSE model END || CASE WHEN setting = '' THEN '' ELSE ', ' || setting END AS series
  FROM asked
), named AS (
  SELECT *, series || CASE WHEN n_data > 1 THEN ', ' || data ELSE '' END AS name,
         CASE WHEN as_ratio THEN ratio ELSE difference END AS value, CASE WHEN as_ratio THEN ratio_lo ELSE lo END AS low,
         CASE WHEN as_ratio THEN ratio_hi ELSE hi END AS high
  FROM counted
)
SELECT name AS series, dense_rank() OVER (ORDER BY pair) AS row, value, coalesce(low, value) AS lo, coalesce(high, value) AS hi,
       verdict <> 'undecided' AS decided, a || CASE WHEN n_metrics > 1 THEN ', ' || metric ELSE '' END AS a, b,
       printf('%s, %.4g / %.4g bits', verdict, bits_a, bits_b) AS words, (SELECT count(DISTINCT pair) FROM named) AS n_rows,
       CASE WHEN n_questions > 1 OR question = '' THEN '' ELSE question END AS question,
       CASE WHEN n_metrics > 1 THEN 'A' ELSE metric || ' of A' END || CASE WHEN as_ratio THEN ' over ' ELSE ' minus ' END ||
       CASE WHEN n_metrics > 1 THEN 'B' ELSE 'that of B' END ||
       CASE WHEN as_ratio THEN ', log scale' WHEN unit = '' OR n_metrics > 1 THEN '' ELSE ', ' || unit END AS axis,
       CASE WHEN min(better) OVER () = max(better) OVER () THEN better ELSE 0 END AS better, max(max(length(a), length(b))) OVER () AS letters,
       CASE WHEN n_data > 1 THEN '' ELSE data END AS data, min(n) OVER () AS n_least, max(n) OVER () AS n_most, as_ratio,
       printf('%s, %.4g / %.4g', verdict, bits_a, bits_b) AS short_words
FROM named ORDER BY min(place) OVER (PARTITION BY name), name, row
