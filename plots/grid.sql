-- Bits of keys against bits of values: a metric in a grid of both, a panel for each quantizer, model and setting
-- :metric = kl   what the cells show; perplexity, nmse_kv and others as well
-- :log = 1   colours by the logarithm, where all values are above 0
WITH point AS (
  SELECT r.ordinal, r.value, r.se, r.unit, r.better, r.model, r.data, r.bits_stored,
         json_extract(r.config, '$.key.params.bits') AS key_bits, json_extract(r.config, '$.value.params.bits') AS value_bits,
         r.key_quantizer || coalesce(' ' || json_extract(r.config, '$.key.params.rotation'), '') AS key_name,
         r.value_quantizer || coalesce(' ' || json_extract(r.config, '$.value.params.rotation'), '') AS value_name,
         coalesce(r.model || ', ', '') || r.data AS subject, coalesce(s.setting, '') AS setting
  FROM result r LEFT JOIN setting s USING (experiment, probe, pairing)
  WHERE r.experiment = :experiment AND r.metric = :metric AND r.value IS NOT NULL AND r.control IS NULL AND NOT r.reference
), named AS (
  SELECT *, CASE WHEN key_name = value_name THEN key_name ELSE 'K ' || key_name || ' / V ' || value_name END ||
            CASE WHEN setting = '' OR setting = subject THEN '' ELSE ', ' || setting END AS panel
  FROM point WHERE key_bits IS NOT NULL AND value_bits IS NOT NULL
), one AS (
  SELECT *, row_number() OVER (PARTITION BY panel, key_bits, value_bits ORDER BY ordinal) AS copy,
         :log AND min(value) OVER () > 0 AS as_log FROM named
)
SELECT panel AS series, dense_rank() OVER (PARTITION BY panel ORDER BY value_bits) AS column,
       dense_rank() OVER (PARTITION BY panel ORDER BY key_bits) AS row, value_bits, key_bits, value,
       printf('%.3g', value) AS words, coalesce(printf('± %.2g', se), '') AS error,
       CASE WHEN count(*) OVER (PARTITION BY subject) = count(*) OVER () THEN subject ELSE '' END AS subject, unit, better, as_log,
       max(value) OVER () AS most, min(value) OVER () AS least
FROM one WHERE copy = 1 ORDER BY min(ordinal) OVER (PARTITION BY panel), panel, row, column
