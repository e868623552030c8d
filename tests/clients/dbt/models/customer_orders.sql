{{ config(materialized=var('customer_orders_as', 'view')) }}
select c.id as customer_id, c.name, c.country, o.id as order_id, o.amount, o.placed
from {{ ref('customers') }} as c
join {{ ref('orders') }} as o on o.customer_id = c.id
