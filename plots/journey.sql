-- The same work done in several ways, a bar for each in the order of the spec: how much faster than the first is the last?
-- :metric = encode_ns   score_ns, mix_ns, decode_tokens_per_s and other timings, or anything else that cells have
WITH bar AS (
  SELECT r.*, coalesce(json_extract(r.config, '$.isa.vector'), json_extract(r.config, '$.isa.key'), '') AS isa,
         coalesce(s.setting, '') AS setting
  FROM result r LEFT JOIN setting s USING (experiment, probe, pairing)
  WHERE r.experiment = :experiment AND r.metric = :metric AND r.value > 0 AND r.control IS NULL
), named AS (
  SELECT *, count(*) OVER (PARTITION BY label) > 1 AS repeated, coalesce(model || ', ', '') || data AS subject FROM bar
)
SELECT 'all' AS series, row_number() OVER (ORDER BY ordinal) AS row, value, coalesce(lo, value - 1.96 * se, value) AS lo,
       coalesce(hi, value + 1.96 * se, value) AS hi,
       label || CASE WHEN repeated AND isa <> '' THEN ', ' || isa ELSE '' END ||
       CASE WHEN repeated AND setting <> '' AND setting <> subject THEN ', ' || setting ELSE '' END AS name, unit,
       printf('%.3g', value) || printf(', %.2fx', CASE WHEN better < 0 THEN first_value(value) OVER (ORDER BY ordinal) / value
                                                       ELSE value / first_value(value) OVER (ORDER BY ordinal) END) AS words,
       CASE WHEN min(subject) OVER () = max(subject) OVER () THEN subject ELSE '' END AS subject, better,
       max(length(label) + 4) OVER () AS letters, count(*) OVER () AS rows, reference
FROM named ORDER BY row
