{{ config(materialized='incremental', unique_key='customer_id', enabled=var('replace_rows', false)) }}
select customer_id, max(order_id) as order_id from {{ ref('customer_orders') }} group by customer_id
