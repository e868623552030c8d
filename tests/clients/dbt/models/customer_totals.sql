{{ config(materialized='table') }}
select customer_id, name, cast(sum(amount) as numeric(14, 2)) as total, count(*) as orders, max(placed) as last_placed
from {{ ref('customer_orders') }}
group by customer_id, name
