-- A metric (perplexity) against stored bits per coordinate: every quantizer, the Pareto front, the reference
-- :metric = perplexity   what stands on the y axis
WITH point AS (
  SELECT r.ordinal, r.label, r.bits_stored, r.value, r.reference, r.cell, r.model, r.data, s.setting,
         CASE WHEN s.setting = '' THEN '' ELSE ' (' || s.setting || ')' END AS suffix,
         CASE WHEN r.value_quantizer IS NULL OR r.value_quantizer = r.key_quantizer THEN r.key_quantizer
              ELSE 'K ' || r.key_quantizer || ' / V ' || r.value_quantizer END AS family,
         CASE WHEN r.reference THEN NULL WHEN p.se IS NULL THEN coalesce(r.lo, r.value - 1.96 * r.se)
              WHEN r.metric = 'perplexity' THEN r.value * exp(p.lo - p.difference) ELSE r.value + p.lo - p.difference END AS lo,
         CASE WHEN r.reference THEN NULL WHEN p.se IS NULL THEN coalesce(r.hi, r.value + 1.96 * r.se)
              WHEN r.metric = 'perplexity' THEN r.value * exp(p.hi - p.difference) ELSE r.value + p.hi - p.difference END AS hi,
         max(p.se IS NOT NULL) OVER () AS paired, r.unit, r.better, f.cell IS NOT NULL AS on_front
  FROM result r JOIN setting s USING (experiment, probe, pairing)
  LEFT JOIN paired p ON p.experiment = r.experiment AND p.cell = r.cell
                    AND p.metric = CASE r.metric WHEN 'perplexity' THEN 'nll' ELSE r.metric END
  LEFT JOIN pareto f ON f.experiment = r.experiment AND f.cell = r.cell AND f.metric = r.metric
  WHERE r.experiment = :experiment AND r.metric = :metric AND r.value IS NOT NULL
), drawn AS (
  SELECT CASE WHEN reference THEN 1 ELSE 2 END AS place, CASE WHEN reference THEN 'reference' ELSE family END || suffix AS series, *
  FROM point
  UNION ALL
  SELECT 3, 'Pareto front' || suffix, * FROM point WHERE on_front
)
SELECT series, bits_stored AS 'stored bits per coordinate', value, lo, hi, label, coalesce(model || ', ', '') || data AS subject,
       CASE WHEN paired THEN 'bars: 95 % interval of the difference to the reference, paired by chunk' ELSE 'bars: 95 % interval' END AS bars,
       unit, on_front, length(label) AS letters,
       printf('%s %.4g', label, value) AS words, place, better,
       row_number() OVER (PARTITION BY place ORDER BY value, bits_stored, series) AS rank
FROM drawn ORDER BY place, min(ordinal) OVER (PARTITION BY place, series), series, bits_stored, ordinal
