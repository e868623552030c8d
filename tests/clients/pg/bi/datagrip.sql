-- What DataGrip and the other JetBrains IDEs send when they connect and introspect a schema.

--- where we are
select current_database() as a, current_schemas(false) as b
--= matches ["{database}", "\\{.*\\}"]

--- since when the server runs
select round(extract(epoch from pg_postmaster_start_time() at time zone 'UTC')) as startup_time
--= matches ["[0-9]+"]

--- locks are asked for
select L.transactionid::varchar::bigint as transaction_id
from pg_catalog.pg_locks L
where L.transactionid is not null
order by pg_catalog.age(L.transactionid) desc
limit 1
--= any

--- the transaction
select case
  when pg_catalog.pg_is_in_recovery()
    then null
  else
    (pg_catalog.txid_current() % 4294967296)::varchar::bigint
  end as current_txid
--= matches ["[0-9]+"]

--- the databases
select N.oid::bigint as id,
       datname as name,
       D.description,
       datistemplate as is_template,
       datallowconn as allow_connections,
       pg_catalog.pg_get_userbyid(N.datdba) as "owner"
from pg_catalog.pg_database N
  left join pg_catalog.pg_shdescription D on N.oid = D.objoid
order by case when datname = pg_catalog.current_database() then -1::bigint else N.oid::bigint end
--= has {"name": "{database}", "is_template": "f", "allow_connections": "t"}

--- the schemas
select N.oid::bigint as id,
       N.xmin as state_number,
       nspname as name,
       D.description,
       pg_catalog.pg_get_userbyid(N.nspowner) as "owner"
from pg_catalog.pg_namespace N
  left join pg_catalog.pg_description D on N.oid = D.objoid
order by case when nspname = pg_catalog.current_schema() then -1::bigint else N.oid::bigint end
--= has {"name": "c_bi", "owner": "{user}"}

--- a type is looked up
SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid   FROM pg_catalog.pg_type   LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r           from pg_namespace as ns           join ( select s.r, (current_schemas(false))[s.r] as nspname                    from generate_series(1, array_upper(current_schemas(false), 1)) as s(r) ) as r          using ( nspname )        ) as sp     ON sp.nspoid = typnamespace  WHERE pg_type.oid = '1009'  ORDER BY sp.r, pg_type.oid DESC
--= rows [["t", "b", "_text", "1009"]]

--- the style of dates
show DateStyle
--= rows [["ISO, MDY"]]

--- time zones
select name, is_dst from pg_catalog.pg_timezone_names
union distinct
select abbrev as name, is_dst from pg_catalog.pg_timezone_abbrevs
--= includes ["UTC", "f"]

--- the roles
select R.oid::bigint as role_id, rolname as role_name,
  rolsuper is_super, rolinherit is_inherit,
  rolcreaterole can_createrole, rolcreatedb can_createdb,
  rolcanlogin can_login, rolreplication /* false */ is_replication,
  rolconnlimit conn_limit, rolvaliduntil valid_until,
  rolbypassrls /* false */ bypass_rls, rolconfig config,
  D.description
from pg_catalog.pg_roles R
  left join pg_catalog.pg_shdescription D on D.objoid = R.oid
--= has {"role_name": "{user}", "is_super": "t", "can_login": "t", "conn_limit": "-1"}

--- members of roles
select member id, roleid role_id, admin_option
from pg_catalog.pg_auth_members order by id, roleid::text
--= any

--- tablespaces
select T.oid::bigint as id, T.spcname as name,
       T.xmin as state_number, pg_catalog.pg_get_userbyid(T.spcowner) as owner,
       pg_catalog.pg_tablespace_location(T.oid) /* null */ as location,
       T.spcoptions /* null */ as options,
       D.description as comment
from pg_catalog.pg_tablespace T
  left join pg_catalog.pg_shdescription D on D.objoid = T.oid
--  where pg_catalog.age(T.xmin) <= #TXAGE
--= has {"name": "pg_default"}

--- privileges of databases
select T.oid as object_id,
                 T.spcacl as acl
          from pg_catalog.pg_tablespace T
          union all
          select T.oid as object_id,
                 T.datacl as acl
          from pg_catalog.pg_database T
--= any

--- the element of an array type
SELECT e.oid, n.nspname = ANY(current_schemas(true)), n.nspname, e.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_type e ON t.typelem = e.oid JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = '1016'
--= rows [["20", "t", "pg_catalog", "int8"]]

--- whether the connection is encrypted
select ssl from pg_stat_ssl where pid = pg_backend_pid()
--= rows [["f"]]

--- extensions
select E.oid        as id,
       E.xmin       as state_number,
       extname      as name,
       extversion   as version,
       extnamespace as schema_id,
       nspname      as schema_name,
       array(select unnest
             from unnest(available_versions)
             where unnest > extversion) as available_updates
from pg_catalog.pg_extension E
       join pg_namespace N on E.extnamespace = N.oid
       left join (select name, array_agg(version) as available_versions
                  from pg_available_extension_versions()
                  group by name) V on E.extname = V.name
--= any

--- tables and views of a schema
select T.relkind as table_kind,
       T.relname as table_name,
       T.oid as table_id,
       T.xmin as table_state_number,
       false /* T.relhasoids */ as table_with_oids,
       T.reltablespace as tablespace_id,
       T.reloptions as options,
       T.relpersistence as persistence,
       (select pg_catalog.array_agg(inhparent::bigint order by inhseqno)::varchar from pg_catalog.pg_inherits where T.oid = inhrelid) as ancestors,
       (select pg_catalog.array_agg(inhrelid::bigint order by inhrelid)::varchar from pg_catalog.pg_inherits where T.oid = inhparent) as successors,
       T.relispartition /* false */ as is_partition,
       pg_catalog.pg_get_partkeydef(T.oid) /* null */ as partition_key,
       pg_catalog.pg_get_expr(T.relpartbound, T.oid) /* null */ as partition_expression,
       T.relam am_id,
       pg_catalog.pg_get_userbyid(T.relowner) as "owner"
from pg_catalog.pg_class T
where relnamespace = 'c_bi'::regnamespace::oid
       and relkind in ('r', 'm', 'v', 'f', 'p')
--  and pg_catalog.age(T.xmin) <= #TXAGE
--  and T.relname in ( :[*f_names] )
order by table_kind, table_id
--= has {"table_kind": "r", "table_name": "orders", "persistence": "p", "ancestors": null, "is_partition": "f", "owner": "{user}"}
--= has {"table_kind": "v", "table_name": "paid"}

--- columns of a schema
with T as ( select distinct
                T.oid as table_id,
                T.relname as table_name
              from
                pg_catalog.pg_class T,
                pg_catalog.pg_attribute A
              where T.relnamespace = 'c_bi'::regnamespace::oid
                and T.relkind in ('r', 'm', 'v', 'f', 'p')
                and A.attrelid = T.oid )
select T.table_id,
       C.attnum as column_position,
       C.attname as column_name,
       C.xmin as column_state_number,
       C.atttypmod as type_mod,
       C.attndims as dimensions_number,
       pg_catalog.format_type(C.atttypid, C.atttypmod) as type_spec,
       C.atttypid as type_id,
       C.attnotnull as mandatory,
       pg_catalog.pg_get_expr(D.adbin, T.table_id) as column_default_expression,
       not C.attislocal as column_is_inherited,
       C.attfdwoptions as options,
       C.attisdropped as column_is_dropped
from T
       join pg_catalog.pg_attribute C on T.table_id = C.attrelid
       left join pg_catalog.pg_attrdef D on (C.attrelid, C.attnum) = (D.adrelid, D.adnum)
where attnum > 0
order by table_id, attnum
--= has {"column_name": "amount", "column_position": "3", "type_spec": "numeric(12,2)", "mandatory": "f", "column_is_inherited": "f", "column_is_dropped": "f"}
--= has {"column_name": "id", "type_spec": "bigint", "mandatory": "t"}
--= has {"column_name": "tags", "type_spec": "text[]", "type_id": "1009"}

--- comments of a schema
select D.objoid id, case
    when 'pg_catalog.pg_type'::regclass = classoid then 'T'
    when 'pg_catalog.pg_class'::regclass = classoid then 'R'
    else 'O' end as kind, D.objsubid sub_id, D.description
from pg_catalog.pg_description D
where objoid = 'c_bi.orders'::regclass::oid and classoid = 'pg_catalog.pg_class'::regclass
order by sub_id
--= has {"kind": "R", "sub_id": "0", "description": "what was ordered"}
--= has {"kind": "R", "sub_id": "3", "description": "in francs"}

--- sources of views
select T.relkind as view_kind, T.oid as view_id, pg_catalog.pg_get_viewdef(T.oid, true) as source_text
from pg_catalog.pg_class T
  join pg_catalog.pg_namespace N on T.relnamespace = N.oid
where N.oid = 'c_bi'::regnamespace::oid and T.relkind in ('m','v')
--= matches ["v", "[0-9]+", "(?is).*select.*"]
