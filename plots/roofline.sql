-- Decode attention against the machine's roofs: time of a key-value pair by its bytes, a panel for each number of queries and threads
-- :depth = 0   tokens in the cache; 0: the most that the experiment has
-- report: decode_attention
WITH cell AS (
  SELECT cell, label, ordinal, reference, bits_asked, key_quantizer AS quantizer,
         json_extract(config, '$.probe.params.depth') AS depth, json_extract(config, '$.probe.params.queries') AS queries,
         json_extract(config, '$.probe.params.threads') AS threads, json_extract(config, '$.probe.params.kv_heads') AS kv_heads,
         max(CASE metric WHEN 'ns_per_pair' THEN value END) AS ns, max(CASE metric WHEN 'ns_per_pair_min' THEN value END) AS least,
         max(CASE metric WHEN 'bytes_per_pair' THEN value END) AS bytes, max(CASE metric WHEN 'memory_ns' THEN value END) AS memory,
         max(CASE metric WHEN 'fma_ns' THEN value END) AS fma, max(CASE metric WHEN 'int8_ns' THEN value END) AS int8,
         max(CASE metric WHEN 'bf16_ns' THEN value END) AS bf16, max(CASE metric WHEN 'products_per_pair' THEN value END) AS products
  FROM result WHERE experiment = :experiment AND probe = 'decode_attention' GROUP BY cell
), chosen AS (
  SELECT *, products / 2 / queries AS dim FROM cell
  WHERE ns > 0 AND depth = CASE WHEN :depth > 0 THEN :depth ELSE (SELECT max(depth) FROM cell WHERE ns > 0) END
), panel AS (               -- roofs of a panel: the best that was seen in any of its cells
  SELECT *, dense_rank() OVER (ORDER BY dim, kv_heads, queries, threads) AS panel, min(memory / bytes) OVER one AS slope,
         min(fma) OVER one AS fma_ns, min(int8) OVER one AS int8_ns, min(bf16) OVER one AS bf16_ns,
         min(ordinal) OVER (PARTITION BY quantizer) AS first
  FROM chosen WINDOW one AS (PARTITION BY dim, kv_heads, queries, threads)
), styled AS (
  SELECT *, dense_rank() OVER (ORDER BY first) AS style FROM panel
)
SELECT panel || ' ' || quantizer AS series, bytes AS 'bytes of a key-value pair, log scale', ns, least,
       printf('%.4g', bits_asked) AS bits, panel, printf('d = %d, %d quer%s per KV head, ', dim, queries, CASE queries WHEN 1 THEN 'y' ELSE 'ies' END) ||
              CASE threads WHEN 0 THEN 'all threads' WHEN 1 THEN '1 thread' ELSE threads || ' threads' END AS title,
       slope, fma_ns, int8_ns, bf16_ns, quantizer, style, depth, (SELECT count(DISTINCT threads) FROM chosen) AS across,
       max(panel) OVER () AS panels, max(style) OVER () AS styles, min(bytes) OVER () AS x_least, max(bytes) OVER () AS x_most
FROM styled ORDER BY panel, first, bytes, ordinal
