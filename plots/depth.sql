-- Speed over depth: time of decode attention per key-value pair; a model's tokens per second, and over f16's; a panel per setting
-- :least = 1   draws nothing where there are fewer depths
-- report: decode_attention least=2
-- report: throughput least=2
WITH cell AS (
  SELECT r.cell, probe, pairing, reference, model, label, ordinal, key_quantizer, metric, value, unit, better,
         json_extract(config, '$.probe.params.depth') AS depth,
         json_remove(json_extract(config, '$.probe.params'), '$.depth') AS settings,
         json_extract(config, '$.probe.params.queries') AS queries, json_extract(config, '$.probe.params.threads') AS threads,
         (SELECT p.value / 2 / json_extract(r.config, '$.probe.params.queries') FROM measurement p
          WHERE p.cell = r.cell AND p.metric = 'products_per_pair') AS dim, data,
         json_extract(r.config, '$.allocation') IS NULL AND key_quantizer = 'f16' AND coalesce(value_quantizer, 'f16') = 'f16' AS line
  FROM result r
  WHERE experiment = :experiment AND value > 0 AND control IS NULL AND
        (probe = 'decode_attention' AND metric = 'ns_per_pair' OR probe = 'throughput' AND metric = 'decode_tokens_per_s')
), extreme AS (            -- the least of times, the most of rates: where bars end
  SELECT c.*, coalesce(m.value, c.value) AS best, 0 AS relative FROM cell c
  LEFT JOIN measurement m ON m.cell = c.cell AND m.metric = c.metric || CASE c.probe WHEN 'throughput' THEN '_max' ELSE '_min' END
), shown AS (              -- medians of rates once more, over that of the reference at the same depth, which is the line at 1
  SELECT cell, probe, model, data, dim, queries, threads, settings, relative, label, ordinal, line, depth, value, best FROM extreme
  UNION ALL
  SELECT c.cell, c.probe, c.model, c.data, c.dim, c.queries, c.threads, c.settings, 1, c.label, c.ordinal, c.line, c.depth,
         c.value / f.value, c.value / f.value
  FROM extreme c JOIN extreme f ON f.cell = (SELECT o.cell FROM cell o WHERE o.pairing = c.pairing AND o.reference ORDER BY o.ordinal)
  WHERE c.probe = 'throughput'
), numbered AS (
  SELECT *, dense_rank() OVER (ORDER BY probe, model, data, dim, queries, threads, settings, relative) AS panel,
         min(ordinal) OVER (PARTITION BY label) AS first FROM shown
), styled AS (
  SELECT *, dense_rank() OVER (ORDER BY line DESC, first, label) AS style FROM numbered
)
SELECT panel || ' ' || label AS series, depth AS 'tokens in the cache', value, best, line, panel,
       CASE probe WHEN 'throughput' THEN coalesce(model, data) || ': decode' || CASE relative WHEN 1 THEN ', over f16' ELSE '' END
       ELSE printf('d = %d, %d quer%s per KV head, ', dim, queries, CASE queries WHEN 1 THEN 'y' ELSE 'ies' END) ||
            CASE threads WHEN 0 THEN 'all threads' WHEN 1 THEN '1 thread' ELSE threads || ' threads' END END AS title,
       CASE WHEN relative THEN 'times f16''s tokens per second' WHEN probe = 'throughput' THEN 'tokens per second, log scale'
       ELSE 'ns per key-value pair, log scale' END AS axis,
       label, style, max(panel) OVER () AS panels,
       (SELECT count(DISTINCT threads) FROM cell WHERE probe = 'decode_attention') AS across, max(length(label)) OVER () AS letters,
       max(style) OVER () AS styles, relative
FROM styled WHERE (SELECT count(DISTINCT depth) FROM cell) >= CAST(:least AS INTEGER) ORDER BY panel, line DESC, first, label, depth
