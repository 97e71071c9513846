-- Which layers and KV heads a quantizer serves badly: a metric's samples in a map of layer by head, a panel for each quantizer
-- :metric = nmse_key   nmse_value, cosine_key, key_norm_sq and whatever else has a sample for each layer (chunk) and head (idx)
-- :panels = 12   how many quantizers, by their order in the spec
WITH mapped AS (
  SELECT r.ordinal, r.cell, r.label, r.unit, r.better, coalesce(r.model || ', ', '') || r.data AS subject, s.chunk AS layer, s.idx AS head,
         sum(s.value * s.n) / sum(s.n) AS value
  FROM result r JOIN sample s ON s.cell = r.cell AND s.metric = r.metric
  WHERE r.experiment = :experiment AND r.metric = :metric AND r.probe = 'distortion' AND r.model IS NOT NULL AND r.control IS NULL
    AND NOT r.reference AND s.value IS NOT NULL
  GROUP BY r.cell, s.chunk, s.idx
), numbered AS (
  SELECT *, dense_rank() OVER (ORDER BY ordinal, cell) AS panel, count(*) OVER (PARTITION BY subject) = count(*) OVER () AS alone FROM mapped
)
SELECT label || CASE WHEN alone THEN '' ELSE ', ' || subject END AS series, layer, head, value,
       CASE WHEN alone THEN subject ELSE '' END AS subject, unit, min(value) OVER (PARTITION BY panel) AS least,
       max(value) OVER (PARTITION BY panel) AS most, max(layer) OVER () + 1 AS layers, max(head) OVER () + 1 AS heads
FROM numbered WHERE panel <= :panels AND value > 0 ORDER BY panel, layer, head
