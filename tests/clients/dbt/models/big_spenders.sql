{{ config(materialized='table') }}
with totals as (select * from {{ ref('customer_totals') }}), loud as (select * from {{ ref('names_in_capitals') }})
select loud.shouted, totals.total
from totals join loud on loud.id = totals.customer_id
where totals.total > 20
