-- How much each layer or KV head matters: a bar for each group alone, a panel for each quantizer and number of bits
-- report: sensitivity
WITH figure AS (
  SELECT r.*, s.setting, json_extract(r.config, '$.probe.params.weights') AS weights,
         json_extract(r.config, '$.probe.params.groups') AS groups, json_extract(r.config, '$.probe.params.sides') AS sides
  FROM result r JOIN setting s USING (experiment, probe, pairing)
  WHERE r.experiment = :experiment AND r.probe = 'sensitivity'
), numbered AS (
  SELECT f.*, CAST(substr(f.metric, instr(f.metric, '_group_') + 7) AS INTEGER) AS number,
         CASE f.groups WHEN 'head' THEN CAST(h.value AS INTEGER) ELSE 1 END AS heads, CASE f.sides WHEN 'apart' THEN 2 ELSE 1 END AS n_sides
  FROM figure f JOIN figure h ON h.cell = f.cell AND h.metric = 'kv_heads'
  WHERE substr(f.metric, 1, instr(f.metric, '_group_') - 1) =
        CASE f.weights WHEN 'kl' THEN 'kl' WHEN 'distortion' THEN 'squared_error' ELSE 'activation' END
    AND f.value IS NOT NULL AND (f.weights = 'activation' OR NOT f.reference)
), placed AS (
  SELECT *, number / n_sides / heads AS layer, number % (n_sides * heads) AS bar, n_sides * heads AS bars,
         CASE groups WHEN 'head' THEN 'head ' || (number / n_sides % heads) ELSE '' END ||
         CASE WHEN groups = 'head' AND sides = 'apart' THEN ' ' ELSE '' END ||
         CASE WHEN sides <> 'apart' THEN '' WHEN number % 2 THEN 'value' ELSE 'key' END AS bar_name
  FROM numbered
)
SELECT CASE weights WHEN 'activation' THEN 'norms' ELSE label END || CASE WHEN p.setting = '' THEN '' ELSE ' (' || p.setting || ')' END AS series,
       p.layer, p.value, coalesce(p.lo, p.value) AS lo, coalesce(p.hi, p.value) AS hi, p.bar, p.bars,
       (SELECT group_concat(name, ' ') FROM (SELECT DISTINCT replace(q.bar_name, ' ', char(160)) AS name, q.bar FROM placed q
                                             WHERE q.cell = p.cell ORDER BY q.bar)) AS names,
       coalesce((SELECT printf('largest / smallest: %.3g', r.value) || coalesce(printf(' [%.3g, %.3g]', r.lo, r.hi), '')
                 FROM figure r WHERE r.cell = p.cell AND r.metric = 'sensitivity_ratio'), 'no ratio: a group has 0') AS ratio,
       CASE WHEN count(*) OVER (PARTITION BY p.model, p.data) = count(*) OVER () THEN p.model || ', ' || p.data
            ELSE '' END AS subject,
       CASE p.weights WHEN 'kl' THEN 'KL of the output, nats' WHEN 'distortion' THEN 'squared error per token'
                      WHEN 'activation' THEN 'mean square norm' END AS axis, max(p.layer) OVER (PARTITION BY p.cell) + 1 AS layers,
       max((p.layer + 1) * (p.bars + 1)) OVER () AS slots
FROM placed p ORDER BY min(p.ordinal) OVER (PARTITION BY p.cell), p.cell, p.layer, p.bar
