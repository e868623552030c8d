-- What DBeaver sends when it connects, and as its navigator is opened down to the columns.

--- the session
SELECT current_schema(),session_user
--= columns ["current_schema", "session_user"]

--- the database
SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datname='{database}'
--= has {"datname": "{database}", "datallowconn": "t", "datistemplate": "f"}

--- a setting
SELECT * FROM pg_catalog.pg_settings where name='standard_conforming_strings'
--= has {"name": "standard_conforming_strings", "setting": "on", "vartype": "bool"}

--- the keywords
select string_agg(word, ',') from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs,absolute,action,ada,add,admin,after,all,allocate,alter,always,and}'::text[])
--= matches [".*analyze.*"]

--- the schemas
SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass
ORDER BY nspname
--= has {"nspname": "c_bi", "description": null}
--= has {"nspname": "pg_catalog"}

--- the types
SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description
FROM pg_catalog.pg_type t
LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem
LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid
LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid
WHERE t.typname IS NOT NULL
AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')
ORDER BY t.oid ASC
--= has {"oid": "1700", "typname": "numeric", "typcategory": "N", "base_type_name": null}
--= has {"oid": "1009", "typname": "_text", "typcategory": "A", "typelem": "25"}

--- the roles
SELECT a.oid,a.*,pd.description FROM pg_catalog.pg_roles a
left join pg_catalog.pg_shdescription pd on a.oid = pd.objoid
ORDER BY a.rolname
--= has {"rolname": "{user}", "rolsuper": "t", "rolcanlogin": "t"}

--- the tables of a schema
SELECT c.oid,c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr,  pg_catalog.pg_get_partkeydef(c.oid) as partition_key
FROM pg_catalog.pg_class c
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass
WHERE c.relnamespace='c_bi'::regnamespace AND c.relkind not in ('i','I','c')
--= has {"relname": "orders", "relkind": "r", "description": "what was ordered", "partition_expr": null, "relnatts": "6"}
--= has {"relname": "paid", "relkind": "v", "description": null}

--- the sizes of tables
select c.oid,pg_catalog.pg_total_relation_size(c.oid) as total_rel_size,pg_catalog.pg_relation_size(c.oid) as rel_size
FROM pg_class c
WHERE c.relnamespace='c_bi'::regnamespace and c.relname = 'orders'
--= matches ["[0-9]+", "[0-9]+", "[0-9]+"]

--- the columns of a table
SELECT c.relname,a.*,pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value,dsc.description,dep.objid
FROM pg_catalog.pg_attribute a
INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid)
LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum)
LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid)
LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and dep.refobjsubid = a.attnum and dep.classid = dep.refclassid
WHERE NOT a.attisdropped AND c.relkind not in ('i','I','c') AND c.oid='c_bi.orders'::regclass
ORDER BY a.attnum
--= has {"relname": "orders", "attname": "id", "attnum": "1", "atttypid": "20", "attnotnull": "t", "description": null}
--= has {"attname": "amount", "attnum": "3", "atttypid": "1700", "atttypmod": "786438", "attnotnull": "f", "description": "in francs"}
--= has {"attname": "tags", "attnum": "6", "atttypid": "1009", "attndims": "1"}

--- constraints are none
SELECT c.oid,c.*,t.relname as tabrelname,rt.relnamespace as refnamespace,d.description, null as consrc_copy
FROM pg_catalog.pg_constraint c
INNER JOIN pg_catalog.pg_class t ON t.oid=c.conrelid
LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass
WHERE c.conrelid='c_bi.orders'::regclass
ORDER BY c.oid
--= rows []

--- indexes are none
SELECT i.*,i.indkey as keys,c.relname,c.relnamespace,c.relam,c.reltablespace,tc.relname as tabrelname,dsc.description,pg_catalog.pg_get_expr(i.indpred, i.indrelid) as pred_expr,pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) as expr
FROM pg_catalog.pg_index i
INNER JOIN pg_catalog.pg_class c ON c.oid=i.indexrelid
INNER JOIN pg_catalog.pg_class tc ON tc.oid=i.indrelid
LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid=dsc.objoid
WHERE i.indrelid='c_bi.orders'::regclass ORDER BY tabrelname, c.relname
--= rows []

--- the definition of a view
SELECT pg_get_viewdef('c_bi.paid'::regclass, true)
--= matches ["(?is).*select.*orders.*"]

--- triggers and rules are none
SELECT x.oid,x.*,p.pronamespace as func_schema_id,d.description
FROM pg_catalog.pg_trigger x
LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid=x.tgfoid
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=x.oid AND d.objsubid=0
WHERE x.tgrelid='c_bi.orders'::regclass AND NOT tgisinternal
--= rows []

--- the data of a table
SELECT x.* FROM c_bi.orders x ORDER BY x.id
--= rows [["1", "Ann", "10.50", "2026-11-01 10:00:00", "t", "{a,\"b c\"}"], ["2", "Bob", "-3.00", "2026-11-02 11:30:00", "f", null]]
