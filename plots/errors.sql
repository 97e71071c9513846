-- Error histograms of inner products, as probe product_error counts them, a panel for each cell
-- :panels = 12   how many, by their order in the spec
WITH counted AS (
  SELECT r.ordinal, r.cell, r.label, r.data, s.idx AS bin, sum(s.value) AS count, r.value AS rms
  FROM result r JOIN sample s ON s.cell = r.cell AND s.metric = 'product_error_count'
  WHERE r.experiment = :experiment AND r.metric = 'product_error_rms' AND r.control IS NULL GROUP BY r.cell, s.idx
), numbered AS (
  SELECT *, dense_rank() OVER (ORDER BY ordinal, cell) AS panel, min(data) OVER () = max(data) OVER () AS alone,
         sum(count) OVER (PARTITION BY cell) AS total FROM counted
), moment AS (
  SELECT cell, value FROM result WHERE experiment = :experiment AND metric = 'product_error_mean'
)
SELECT label || CASE WHEN alone THEN '' ELSE ', ' || data END AS series, (bin - 50) / 10.0 + 0.05 AS error, 10 * count / total AS density,
       rms, m.value AS mean, CASE WHEN alone THEN data ELSE '' END AS subject, max(10 * count / total) OVER () AS most,
       max(CASE WHEN count / total > 0.0005 THEN abs((bin - 50) / 10.0 + 0.05) END) OVER () + 0.1 AS widest
FROM numbered n JOIN moment m USING (cell) WHERE panel <= :panels ORDER BY panel, bin
