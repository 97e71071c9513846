-- Distortion (nmse) against stored bits per coordinate, between the bounds of theory
-- :metric = nmse   or nmse_key, nmse_value on a model's own vectors
SELECT r.key_quantizer || CASE WHEN s.setting = '' THEN '' ELSE ' (' || s.setting || ')' END AS series,
       r.bits_stored AS 'stored bits per coordinate', r.value, coalesce(r.lo, r.value - 1.96 * r.se) AS lo,
       coalesce(r.hi, r.value + 1.96 * r.se) AS hi, r.label, coalesce(r.model || ', ', '') || r.data AS subject,
       count(*) OVER (PARTITION BY r.model, r.data) = count(*) OVER () AS one_subject
FROM result r JOIN setting s USING (experiment, probe, pairing)
WHERE r.experiment = :experiment AND r.metric = :metric AND r.value > 0 AND NOT r.reference
ORDER BY min(r.ordinal) OVER (PARTITION BY r.key_quantizer, s.setting), r.key_quantizer, s.setting, r.bits_stored
