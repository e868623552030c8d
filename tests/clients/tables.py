"""What PyIceberg finds in a schema.

Input: {"catalog", "schema"}. Output: {"tables": [name, ...] sorted, "columns": {table: [[name, id, required,
comment], ...]}, "keys": {table: [column, ...]}, "comments": {table: text or null}}.
"""

import lake


def main():
    task = lake.read_input()
    catalog = lake.open_catalog(task["catalog"])
    names = sorted(name for _, name in catalog.list_tables(task["schema"]))
    tables = {name: catalog.load_table(f"{task['schema']}.{name}") for name in names}
    columns = {
        name: [[f.name, f.field_id, f.required, f.doc] for f in table.schema().fields] for name, table in tables.items()
    }
    keys = {name: sorted(table.schema().identifier_field_names()) for name, table in tables.items()}
    comments = {name: table.properties.get("comment") for name, table in tables.items()}
    lake.answer({"tables": names, "columns": columns, "keys": keys, "comments": comments})


if __name__ == "__main__":
    main()
