-- Distortion (nmse) against stored bits per coordinate, between the bounds of theory, a panel for each model and data
-- :metric = nmse   or nmse_key, nmse_value on a model's own vectors
-- report: distortion
-- report: distortion metric=nmse_key
WITH subject AS (          -- the settings of a pairing without model and data, which are its panel's title
  SELECT pairing, panel, CASE WHEN words = data THEN '' WHEN substr(words, 1, length(data) + 2) = data || ', '
                              THEN substr(words, length(data) + 3) ELSE words END AS rest
  FROM (SELECT DISTINCT r.pairing, coalesce(r.model || ', ', '') || r.data AS panel, r.data,
               CASE WHEN s.setting = r.model THEN '' WHEN substr(s.setting, 1, length(r.model) + 2) = r.model || ', '
                    THEN substr(s.setting, length(r.model) + 3) ELSE s.setting END AS words
        FROM result r JOIN setting s USING (experiment, probe, pairing) WHERE r.experiment = :experiment AND r.metric = :metric)
), point AS (
  SELECT r.*, s.panel,
         coalesce(replace(r.label, ' ' || json_extract(r.config, '$.vector.params.bits') || 'b', ''), r.key_quantizer) ||
          CASE WHEN s.rest = '' THEN '' ELSE ' (' || s.rest || ')' END AS name
  FROM result r JOIN subject s USING (pairing)
  WHERE r.experiment = :experiment AND r.metric = :metric AND r.value > 0 AND NOT r.reference
), ordered AS (
  SELECT *, min(ordinal) OVER (PARTITION BY panel) AS panel_first, min(ordinal) OVER (PARTITION BY name) AS name_first FROM point
), numbered AS (
  SELECT *, dense_rank() OVER (ORDER BY panel_first, panel) AS number, dense_rank() OVER (ORDER BY name_first, name) AS style FROM ordered
)
SELECT number || ' ' || name AS series, bits_stored AS 'stored bits per coordinate', value, coalesce(lo, value - 1.96 * se) AS lo,
       coalesce(hi, value + 1.96 * se) AS hi, label, panel AS subject, number, name, style
FROM numbered ORDER BY number, name_first, name, bits_stored
