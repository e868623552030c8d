"""Puts the tables of the zoo into the bucket of their addresses.

Input: {"s3": {"endpoint", "region", "access_key", "secret_key"}, "fixtures": folder}. Makes the bucket `zoo`, unless
it is there, and uploads what each `TABLE/files.tar.xz` holds. Output: {"objects": n}.
"""

import concurrent.futures
import glob
import os
import tarfile

from pyarrow import fs

import lake

# Requests under way at once.
UPLOADS = 8


def main():
    task = lake.read_input()
    s3 = task["s3"]
    bucket = fs.S3FileSystem(
        access_key=s3["access_key"],
        secret_key=s3["secret_key"],
        region=s3["region"],
        endpoint_override=s3["endpoint"],
        allow_bucket_creation=True,
    )
    bucket.create_dir("zoo", recursive=False)

    def upload(archive):
        count = 0
        with tarfile.open(archive) as files:
            for member in files:
                with bucket.open_output_stream(f"zoo/{member.name}") as target:
                    target.write(files.extractfile(member).read())
                count += 1
        return count

    archives = sorted(glob.glob(os.path.join(task["fixtures"], "*", "files.tar.xz")))
    with concurrent.futures.ThreadPoolExecutor(UPLOADS) as pool:
        lake.answer({"objects": sum(pool.map(upload, archives))})


if __name__ == "__main__":
    main()
