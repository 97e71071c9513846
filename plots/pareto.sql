-- A metric (perplexity) against stored bits per coordinate: every quantizer, the Pareto front, the reference; a panel for each model
-- :metric = perplexity   what stands on the y axis
-- :probe   only results of this one
-- report: perplexity probe=perplexity
-- report: divergence metric=kl
-- report: attention metric=output_error
-- report: trajectory metric=first_divergence
-- report: gsm8k metric=gsm8k_accuracy
-- report: perturbation metric=answer_kl
-- report: recall metric=recall_at_1
-- report: recall metric=rank
-- report: throughput metric=decode_tokens_per_s
-- report: throughput metric=score_gb_per_s
-- report: bytes metric=bytes_per_token
-- report: bytes metric=bytes_per_vector
WITH subject AS (          -- the settings of a pairing without model and data, which are its panel's title
  SELECT pairing, panel, CASE WHEN words = data THEN '' WHEN substr(words, 1, length(data) + 2) = data || ', '
                              THEN substr(words, length(data) + 3) ELSE words END AS rest
  FROM (SELECT DISTINCT r.pairing, coalesce(r.model || ', ', '') || r.data AS panel, r.data,
               CASE WHEN s.setting = r.model THEN '' WHEN substr(s.setting, 1, length(r.model) + 2) = r.model || ', '
                    THEN substr(s.setting, length(r.model) + 3) ELSE s.setting END AS words
        FROM result r JOIN setting s USING (experiment, probe, pairing) WHERE r.experiment = :experiment AND r.metric = :metric AND (:probe IS NULL OR r.probe = :probe))
), point AS (
  SELECT r.ordinal, r.label, r.key_quantizer, r.value_quantizer, r.bits_stored, r.value, r.reference, r.cell, s.panel,
         CASE WHEN s.rest = '' THEN '' ELSE ' (' || s.rest || ')' END AS suffix,
         CASE WHEN r.value_quantizer IS NULL OR r.value_quantizer = r.key_quantizer THEN r.key_quantizer
              ELSE 'K ' || r.key_quantizer || ' / V ' || r.value_quantizer END AS family,
         CASE WHEN r.reference THEN NULL WHEN p.se IS NULL THEN coalesce(r.lo, r.value - 1.96 * r.se)
              WHEN r.metric = 'perplexity' THEN r.value * exp(p.lo - p.difference) ELSE r.value + p.lo - p.difference END AS lo,
         CASE WHEN r.reference THEN NULL WHEN p.se IS NULL THEN coalesce(r.hi, r.value + 1.96 * r.se)
              WHEN r.metric = 'perplexity' THEN r.value * exp(p.hi - p.difference) ELSE r.value + p.hi - p.difference END AS hi,
         max(p.se IS NOT NULL) OVER () AS paired, r.unit, r.better, f.cell IS NOT NULL AS on_front
  FROM result r JOIN subject s USING (pairing)
  LEFT JOIN paired p ON p.experiment = r.experiment AND p.cell = r.cell
                    AND p.metric = CASE r.metric WHEN 'perplexity' THEN 'nll' ELSE r.metric END
  LEFT JOIN pareto f ON f.experiment = r.experiment AND f.cell = r.cell AND f.metric = r.metric
  WHERE r.experiment = :experiment AND r.metric = :metric AND (:probe IS NULL OR r.probe = :probe) AND r.value IS NOT NULL AND r.control IS NULL
), drawn AS (
  SELECT CASE WHEN reference THEN 1 ELSE 2 END AS place, CASE WHEN reference THEN 'reference' ELSE family END || suffix AS name, *
  FROM point
  UNION ALL
  SELECT 3, 'Pareto front' || suffix, * FROM point WHERE on_front
), ordered AS (
  SELECT *, min(ordinal) OVER (PARTITION BY panel) AS panel_first, min(ordinal) OVER (PARTITION BY place, name) AS name_first
  FROM drawn
), numbered AS (
  SELECT *, dense_rank() OVER (ORDER BY panel_first, panel) AS number,
         dense_rank() OVER (PARTITION BY place ORDER BY name_first, name) AS style
  FROM ordered
)
SELECT number || place || name AS series, bits_stored AS 'stored bits per coordinate', value, lo, hi, label, panel AS subject,
       CASE WHEN paired THEN 'bars: 95 % interval of the difference to the reference, paired by chunk' ELSE 'bars: 95 % interval' END AS bars,
       unit, on_front, length(label) AS letters,
       printf('%s %.4g', label, value) AS words, place, better,
       row_number() OVER (PARTITION BY number, place ORDER BY value, bits_stored, name) AS rank, number, name, style,
       -- the label without what the key says of it
       CASE WHEN substr(label, 1, length(key_quantizer) + 1) = key_quantizer || ' ' THEN substr(label, length(key_quantizer) + 2)
            WHEN substr(label, 1, length(key_quantizer) + 3) = 'K ' || key_quantizer || ' '
            THEN replace('K ' || substr(label, length(key_quantizer) + 4), ' / V ' || value_quantizer || ' ', ' / V ')
            ELSE label END AS short
FROM numbered ORDER BY number, place, name_first, name, bits_stored, ordinal
