-- One query each of tools whose way of asking differs: Excel, QuickSight, Sigma, Google Sheets, Postico, pgcli.

--- Excel lists the tables
SELECT '{database}' as Database, ns.nspname as Schema, relname as Name,
    CASE
        WHEN ns.nspname Like E'pg\\_catalog' then 'Catalog'
        WHEN ns.nspname Like E'information\\_schema' then 'Information'
        WHEN relkind = 'f' then 'Foreign'
        ELSE 'User'
    END as TableType,
    pg_get_userbyid(relowner) AS definer, rel.oid as Oid, relacl as ACL, true as HasOids, relhassubclass as HasSubtables, reltuples as RowNumber,
    description as Comment, relnatts as ColumnNumber, relhastriggers as TriggersNumber, conname as Constraint, conkey as ColumnConstrainsIndexes
FROM pg_class rel
INNER JOIN pg_namespace ns ON relnamespace = ns.oid
LEFT OUTER JOIN pg_description des ON des.objoid = rel.oid AND des.objsubid = 0
LEFT OUTER JOIN pg_constraint c ON c.conrelid = rel.oid AND c.contype = 'p'
WHERE ((relkind = 'r') OR (relkind = 's') OR (relkind = 'f')) AND
    NOT ns.nspname LIKE E'pg\\_temp\\_%%' AND NOT ns.nspname like E'pg\\_%' AND NOT ns.nspname like E'information\\_schema' AND
    ns.nspname::varchar like E'c\\_bi' AND relname::varchar like '%' AND pg_get_userbyid(relowner)::varchar like '%'
ORDER BY relname
--= has {"schema": "c_bi", "name": "orders", "tabletype": "User", "definer": "{user}", "comment": "what was ordered", "columnnumber": "6", "triggersnumber": "f", "constraint": null}

--- QuickSight lists the schemas
SELECT nspname AS schema_name
FROM pg_namespace
WHERE (has_schema_privilege('{user}', nspname, 'USAGE') = TRUE OR has_schema_privilege('{user}', nspname, 'CREATE') = TRUE)
    AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg_toast%' AND nspname NOT LIKE 'pg_temp_%'
--= includes ["c_bi"]

--- Sigma lists foreign keys with arrays of subqueries
select cl.relname as "source_table",
    array(
        select (select attname::text from pg_attribute where attrelid = con.conrelid and attnum = con.conkey[i])
        from generate_series(array_lower(con.conkey, 1), array_upper(con.conkey, 1)) i
    ) as "source_keys",
    (select nspname from pg_namespace ns2 join pg_class cl2 on ns2.oid = cl2.relnamespace where cl2.oid = con.confrelid) as "target_schema",
    (select relname from pg_class where oid = con.confrelid) as "target_table"
from pg_class cl
join pg_namespace ns on cl.relnamespace = ns.oid
join pg_constraint con on con.conrelid = cl.oid
where ns.nspname = 'c_bi' and cl.relname >= 'A' and cl.relname <= 'z' and con.contype = 'f'
order by "source_table", con.conname
--= rows []

--- Sigma lists the columns of a table
with
    nsp as (select oid from pg_catalog.pg_namespace where nspname = 'c_bi'),
    tbl as (select oid from pg_catalog.pg_class where relname = 'orders' and relnamespace = (select oid from nsp))
select attname, typname, description
from pg_attribute a
join pg_type on atttypid = pg_type.oid
left join pg_description on attrelid = objoid and attnum = objsubid
where attnum > 0 and attrelid = (select oid from tbl)
order by attnum
--= rows [["id", "int8", null], ["customer", "text", null], ["amount", "numeric", "in francs"], ["placed", "timestamp", null], ["paid", "bool", null], ["tags", "_text", null]]

--- Google Sheets lists the columns of a table
SELECT cl.relname as Table, att.attname AS Name, att.attnum as Position,
    CASE WHEN att.attnotnull = 'f' THEN 'true' ELSE 'false' END as Nullable,
    CASE WHEN exists(select null from pg_constraint c where c.conrelid = cl.oid and c.contype = 'p' and att.attnum = ANY (c.conkey)) THEN true ELSE false END as IsKey,
    CASE WHEN ty.typname = 'bpchar' THEN 'char' WHEN ty.typname = '_bpchar' THEN '_char' ELSE ty.typname END as TypeName,
    (information_schema._pg_numeric_precision(information_schema._pg_truetypid(att.*, ty.*), information_schema._pg_truetypmod(att.*, ty.*)))::information_schema.cardinal_number AS Precision,
    (information_schema._pg_numeric_scale(information_schema._pg_truetypid(att.*, ty.*), information_schema._pg_truetypmod(att.*, ty.*)))::information_schema.cardinal_number AS Scale
FROM pg_attribute att
JOIN pg_type ty ON ty.oid = atttypid
JOIN pg_namespace tn ON tn.oid = ty.typnamespace
JOIN pg_class cl ON cl.oid = attrelid AND ((cl.relkind = 'r') OR (cl.relkind = 's') OR (cl.relkind = 'v') OR (cl.relkind = 'm') OR (cl.relkind = 'f'))
JOIN pg_namespace na ON na.oid = cl.relnamespace
LEFT OUTER JOIN (
    pg_depend
    JOIN pg_class cs ON objid = cs.oid AND cs.relkind = 'S' AND classid = 'pg_class'::regclass::oid
) ON refobjid = attrelid AND refobjsubid = attnum
LEFT JOIN pg_database db ON db.datname = current_database()
WHERE attnum > 0 AND attisdropped IS FALSE AND na.nspname = 'c_bi' AND cl.relname = 'orders'
ORDER BY attnum
--= has {"name": "id", "nullable": "false", "iskey": "f", "typename": "int8", "precision": "64", "scale": "0"}
--= has {"name": "amount", "nullable": "true", "typename": "numeric", "precision": "12", "scale": "2"}
--= has {"name": "customer", "precision": null, "scale": null}

--- Postico lists the schemas
SELECT oid, nspname, nspname = ANY (current_schemas(true)) AS is_on_search_path, oid = pg_my_temp_schema() AS is_my_temp_schema, pg_is_other_temp_schema(oid) AS is_other_temp_schema
FROM pg_namespace
--= has {"nspname": "c_bi", "is_on_search_path": "f", "is_my_temp_schema": "f", "is_other_temp_schema": "f"}
--= has {"nspname": "pg_catalog", "is_on_search_path": "t"}

--- pgcli reads the search path
SELECT * FROM unnest(current_schemas(true))
--= includes ["pg_catalog"]

--- pgcli reads tables and columns for its completion
SELECT nsp.nspname schema_name, cls.relname table_name, att.attname column_name, att.atttypid::regtype::text type_name, att.atthasdef AS has_default, pg_catalog.pg_get_expr(def.adbin, def.adrelid, true) as default
FROM pg_catalog.pg_attribute att
INNER JOIN pg_catalog.pg_class cls ON att.attrelid = cls.oid
INNER JOIN pg_catalog.pg_namespace nsp ON cls.relnamespace = nsp.oid
LEFT OUTER JOIN pg_attrdef def ON def.adrelid = att.attrelid AND def.adnum = att.attnum
WHERE cls.relkind = ANY(array['r']) AND NOT att.attisdropped AND att.attnum > 0 AND nsp.nspname = 'c_bi'
ORDER BY 1, 2, att.attnum
--= has {"table_name": "orders", "column_name": "placed", "type_name": "timestamp without time zone", "has_default": "f", "default": null}
