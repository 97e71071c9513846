-- Bias and variance of estimated inner products against the true ones, as probe distortion has them by angle, a line for each cell
-- :bits = 2   those that asked for this many bits per coordinate; 0: all
WITH point AS (
  SELECT r.*, CAST(substr(r.metric, instr(r.metric, '_at_') + 4) AS REAL) AS degrees, r.metric GLOB 'ip_variance_at_*' AS panel
  FROM result r
  WHERE r.experiment = :experiment AND (r.metric GLOB 'ip_bias_at_*' OR r.metric GLOB 'ip_variance_at_*') AND r.control IS NULL
        AND (:bits = 0 OR r.bits_asked = :bits)
), styled AS (
  SELECT *, dense_rank() OVER (ORDER BY ordinal, cell) AS style, min(data) OVER () = max(data) OVER () AS alone FROM point
)
SELECT panel || style AS series, CASE degrees WHEN 90 THEN 0 ELSE cos(radians(degrees)) END AS product, value,
       coalesce(value - 1.96 * se, value) AS lo, coalesce(value + 1.96 * se, value) AS hi, panel, style,
       label || CASE WHEN alone THEN '' ELSE ', ' || data END AS name, CASE WHEN alone THEN data ELSE '' END AS subject,
       max(style) OVER () AS styles
FROM styled ORDER BY panel, style, degrees
