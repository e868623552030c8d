"""What is kept of a table: `files.tar.xz` and `answer.json`."""

import glob
import json
import os
import shutil
import tarfile


def keep(fixtures, bucket, name, writer, what, location, queries, refusal=()):
    """Keeps the table `name` of the folder `bucket`, whose metadata file is at `location`.

    A table that must be refused has no queries but words that the refusal says.
    """
    folder = os.path.join(fixtures, name)
    shutil.rmtree(folder, ignore_errors=True)
    keep_files(os.path.join(bucket, name), name, location, folder)
    write_answer(folder, writer, what, location, queries, refusal)


def keep_files(source, name, location, folder):
    """`files.tar.xz`: what a reader can reach, so not the metadata files that the last one superseded.

    Manifests repeat their schemas in each file: packed together they take a tenth of the room.
    """
    os.makedirs(folder)
    with tarfile.open(os.path.join(folder, "files.tar.xz"), "w:xz", preset=9) as archive:
        for path in sorted(glob.glob(f"{source}/**", recursive=True, include_hidden=True)):
            file = os.path.basename(path)
            superseded = ".metadata.json" in file and not location.endswith("/" + file)
            if os.path.isdir(path) or file.endswith(".crc") or file in ("_SUCCESS", "version-hint.text") or superseded:
                continue
            with open(path, "rb") as data:
                member = tarfile.TarInfo(os.path.join(name, os.path.relpath(path, source)))
                member.size = os.path.getsize(path)
                archive.addfile(member, data)


def write_answer(folder, writer, what, location, queries, refusal):
    """`answer.json`: one line a row, so that a difference is one line of a diff."""
    def line(value):
        return json.dumps(value, ensure_ascii=False)

    blocks = []
    for query in queries:
        rows = ",\n".join(f"    {line(row)}" for row in query["rows"])
        rows = f"[\n{rows}\n   ]" if rows else "[]"
        blocks.append(f'  {{"sql": {line(query["sql"])},\n   "columns": {line(query["columns"])},\n   "rows": {rows}}}')
    head = [f'"writer": {line(writer)}', f'"what": {line(what)}', f'"metadata": {line(location)}']
    if refusal:
        head.append(f'"refusal": {line(list(refusal))}')
    text = "{" + ",\n ".join(head) + ',\n "queries": [\n' + ",\n".join(blocks) + "\n ]}\n"
    json.loads(text)
    with open(os.path.join(folder, "answer.json"), "w", encoding="utf-8") as file:
        file.write(text)
