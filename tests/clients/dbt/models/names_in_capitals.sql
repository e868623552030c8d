{{ config(materialized='ephemeral') }}
select id, upper(name) as shouted from {{ ref('customers') }}
