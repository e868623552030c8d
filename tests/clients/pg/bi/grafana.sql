-- What Grafana's PostgreSQL data source sends: its editor, and the queries of a panel.

--- the version
SELECT current_setting('server_version_num')::int/100 as version
--= matches ["[0-9]{4}"]

--- whether there is TimescaleDB
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'
--= rows []

--- the schemas
SELECT schema_name AS "name"
    FROM information_schema.schemata
    WHERE schema_name NOT IN ('information_schema', 'pg_catalog', 'pg_toast', '_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information', 'timescaledb_experimental')
    ORDER BY schema_name
--= includes ["c_bi"]

--- the tables of a schema
SELECT quote_ident(table_name) AS "table"
      FROM information_schema.tables
      WHERE quote_ident(table_schema) = 'c_bi'
      ORDER BY 1
--= rows [["orders"], ["paid"]]

--- the tables, those of the search path first
SELECT
    CASE WHEN
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )
      THEN quote_ident(table_name)
      ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
    END AS "table"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache')
    ORDER BY CASE WHEN
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          ) THEN 0 ELSE 1 END, 1
--= includes ["c_bi.orders"]

--- the columns of a table
SELECT quote_ident(column_name) AS "column", data_type AS "type"
    FROM information_schema.columns
    WHERE
      CASE WHEN array_length(parse_ident('c_bi.orders'),1) = 2
        THEN quote_ident(table_schema) = (parse_ident('c_bi.orders'))[1]
          AND quote_ident(table_name) = (parse_ident('c_bi.orders'))[2]
        ELSE quote_ident(table_name) = 'c_bi.orders'
          AND
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )
      END
--= includes ["id", "bigint"]
--= includes ["placed", "timestamp without time zone"]

--- a panel over time
SELECT floor(extract(epoch from placed)/86400)*86400 AS "time", sum(amount) AS "amount" FROM c_bi.orders WHERE placed BETWEEN '2026-11-01T00:00:00Z' AND '2026-11-30T00:00:00Z' GROUP BY 1 ORDER BY 1
--= rows [["1793491200", "10.50"], ["1793577600", "-3.00"]]

--- the health check
SELECT 1
--= rows [["1"]]
