select 1 from (select sum(total) as s from {{ ref('customer_totals') }}) as t
where s <> (select sum(amount) from {{ source('raw', 'orders') }})
