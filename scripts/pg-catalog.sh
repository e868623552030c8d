#!/bin/sh
# Writes engine/src/pg_catalog/data/: names and types of the columns of PostgreSQL's catalogs, and the rows that are
# the same in every PostgreSQL, as far as they concern types that Tarn has.
#
# usage: scripts/pg-catalog.sh FUNCTIONS [psql options]
# FUNCTIONS is a file with the names of Tarn's functions, one a line (`SHOW FUNCTIONS`); the psql options must reach a
# PostgreSQL 15.
set -eu
functions=$1
shift
out=$(dirname "$0")/../engine/src/pg_catalog/data
rows() { psql -X -q -A -t -F "$(printf '\t')" -v ON_ERROR_STOP=1 "$@"; }

# Views about the inside of a PostgreSQL server, which Tarn does not have.
hidden="'pg_backend_memory_contexts','pg_config','pg_file_settings','pg_hba_file_rules','pg_ident_file_mappings',
  'pg_shmem_allocations','pg_stat_archiver','pg_stat_bgwriter','pg_stat_database_conflicts','pg_stat_gssapi','pg_stat_recovery_prefetch',
  'pg_stat_replication_slots','pg_stat_slru','pg_stat_subscription_stats','pg_stat_wal',
  'pg_statistic_ext_data','pg_stats_ext','pg_stats_ext_exprs','pg_statistic','pg_stat_xact_all_tables','pg_stat_xact_sys_tables',
  'pg_stat_xact_user_functions','pg_stat_xact_user_tables','sql_implementation_info','sql_sizing','sql_parts',
  '_pg_foreign_data_wrappers','_pg_foreign_servers','_pg_foreign_table_columns','_pg_foreign_tables','_pg_user_mappings'"
rows "$@" > "$out/relations.tsv" <<SQL
SELECT n.nspname, c.relname, c.oid, c.relkind, (
    SELECT string_agg(a.attname || ':' || coalesce(b.typname, t.typname) || CASE WHEN a.attnotnull THEN '!' ELSE '' END, ' ' ORDER BY a.attnum)
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
    WHERE a.attrelid = c.oid AND a.attnum > 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'v')
  AND c.relname NOT IN ($hidden) AND c.relname NOT LIKE 'pg\_statio%'
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C";
SQL

types="16,17,18,19,20,21,22,23,24,25,26,28,30,114,194,700,701,869,1033,1042,1043,1082,1083,1114,1184,1186,1700,2202,2203,2204,2205,2206,2950,4089,4096"
pseudo="1263,705,2249,2275,2276,2277,2278,2279,2281,2283"
rows "$@" > "$out/types.tsv" <<SQL
SELECT oid, typname, typlen, typbyval, typtype, typcategory, typispreferred, typdelim, typsubscript::oid, typelem, typarray,
  typinput::oid, typoutput::oid, typreceive::oid, typsend::oid, typmodin::oid, typmodout::oid, typalign, typstorage, typcollation
FROM pg_type
WHERE oid IN ($types, $pseudo) OR (typelem IN ($types) AND typcategory = 'A' AND oid IN (SELECT typarray FROM pg_type WHERE oid IN ($types)))
ORDER BY oid;
SQL

shown="SELECT oid FROM pg_type WHERE oid IN ($types, $pseudo) OR oid IN (SELECT typarray FROM pg_type WHERE oid IN ($types))"
names=$(sed "s/.*/'&'/" "$functions" | paste -sd, -)
rows "$@" > "$out/functions.tsv" <<SQL
SELECT p.oid, p.proname, p.prokind, p.proretset, p.proisstrict, p.provolatile, p.provariadic, p.prorettype, p.proargtypes
FROM pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prorettype IN ($shown)
  AND NOT EXISTS (SELECT 1 FROM unnest(p.proargtypes) a WHERE a NOT IN ($shown))
  AND (p.proname IN ($names) OR p.oid IN (
    SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout, typsubscript]::oid[]) FROM pg_type WHERE oid IN ($shown)))
ORDER BY p.oid;
SQL

rows "$@" > "$out/operators.tsv" <<SQL
SELECT oid, oprname, oprkind, oprcanmerge, oprcanhash, oprleft, oprright, oprresult, oprcom, oprnegate
FROM pg_operator
WHERE oprleft IN (0, $types) AND oprright IN ($types) AND oprresult IN ($types)
  AND oprname IN ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '%', '||', '~', '~*', '!~', '!~*', '~~', '!~~', '~~*', '!~~*')
  AND oprleft NOT IN (22, 28, 30, 194, 869, 1033) AND oprright NOT IN (22, 28, 30, 194, 869, 1033)
ORDER BY oid;
SQL

rows "$@" > "$out/casts.tsv" <<SQL
SELECT oid, castsource, casttarget, castcontext, castmethod FROM pg_cast
WHERE castsource IN ($types) AND casttarget IN ($types) ORDER BY oid;
SQL

rows "$@" > "$out/keywords.tsv" <<SQL
SELECT word, catcode, barelabel, catdesc, baredesc FROM pg_get_keywords() ORDER BY word COLLATE "C";
SQL
