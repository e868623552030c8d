{{ config(materialized='incremental', incremental_strategy='append') }}
select order_id, customer_id, amount, placed
from {{ ref('customer_orders') }}
{% if is_incremental() %}
where placed > (select max(placed) from {{ this }})
{% else %}
where placed < timestamp '2026-02-01'
{% endif %}
