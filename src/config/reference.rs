//! Every configuration key with its default and meaning; `docs/configuration.md` is made from it.

/// One line of the configuration reference.
#[derive(Debug)]
pub struct Key {
    /// The key, as in TOML.
    pub name: &'static str,
    /// Its default, in words where it is computed.
    pub default: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Whether a variable's text is read as a number, boolean or array.
    pub(super) typed: bool,
}

const fn key(name: &'static str, default: &'static str, description: &'static str) -> Key {
    Key {
        name,
        default,
        description,
        typed: false,
    }
}

const fn typed(name: &'static str, default: &'static str, description: &'static str) -> Key {
    Key {
        name,
        default,
        description,
        typed: true,
    }
}

/// Every key.
pub const REFERENCE: &[Key] = &[
    key(
        "data_dir",
        "./tarn-data",
        "Folder of everything that this server keeps; flag `--data-dir`.",
    ),
    key(
        "admin_password",
        "generated, printed once",
        "Password of the first user, `admin`.",
    ),
    typed(
        "workers",
        "0",
        "Worker processes that `tarn server` starts on this machine; flag `--workers`.",
    ),
    key(
        "listen.http",
        "127.0.0.1:7070",
        "HTTP door and registration of workers. Port 0 picks a free one, printed in the ready line.",
    ),
    key(
        "listen.flight",
        "127.0.0.1:7071",
        "Flight SQL door (JDBC, ADBC).",
    ),
    key(
        "listen.postgres",
        "127.0.0.1:7072",
        "PostgreSQL door, for psql, drivers and BI tools. Port 0 picks a free one, printed in the ready line.",
    ),
    key(
        "listen.worker",
        "127.0.0.1, first free port from 7073",
        "Where a worker takes fragments.",
    ),
    key(
        "http.results_ttl",
        "1h",
        "How long results of `POST /api/v1/queries` are kept after the query has ended.",
    ),
    typed(
        "http.results_bytes_max",
        "21474836480",
        "Disk, in the data folder, for the kept results of all queries.",
    ),
    typed(
        "http.results_query_bytes_max",
        "4294967296",
        "Disk for the kept results of one query; a larger one fails.",
    ),
    key(
        "tls.cert",
        "",
        "Certificate chain (PEM, leaf first) of all doors. With tls.key, the doors speak TLS; both files are read again when they change and at SIGHUP.",
    ),
    key(
        "tls.key",
        "",
        "Private key (PEM, not encrypted) of tls.cert.",
    ),
    typed(
        "tls.self_signed",
        "false",
        "For development: make a certificate for this machine, kept in the data folder; clients trust `tls/ca.pem` there.",
    ),
    typed(
        "tls.required",
        "true with TLS",
        "Refuse clients that do not speak TLS. `false` serves both on the same ports.",
    ),
    key(
        "postgres.authentication",
        "auto",
        "How clients of the PostgreSQL door prove who they are: `scram` (SCRAM-SHA-256, without channel binding), `password` (the password or access token itself; over TLS, or from this machine), or `auto`: `password` over TLS, else `scram`.",
    ),
    key(
        "postgres.authentication_timeout",
        "10s",
        "A PostgreSQL connection that has not authenticated by then is closed.",
    ),
    typed(
        "postgres.unauthenticated_max",
        "1000",
        "PostgreSQL connections that may be without authentication at once; more are refused.",
    ),
    typed(
        "postgres.message_bytes_max",
        "67108864",
        "Bytes of one message of an authenticated PostgreSQL client, and of one row in COPY FROM.",
    ),
    key(
        "flight.advertise_url",
        "none: the connection that they have",
        "Where Flight clients are told to fetch results, e.g. `grpc+tls://flight.example.com:443` in front of several servers.",
    ),
    key(
        "flight.ticket_life",
        "10min",
        "How long a result may wait to be fetched; its statement runs when it is.",
    ),
    key(
        "flight.session_linger",
        "5min",
        "How long a Flight session outlives its last connection.",
    ),
    typed(
        "flight.endpoints",
        "2",
        "Endpoints of a result whose order does not matter: a client may read as many at once.",
    ),
    typed(
        "flight.message_bytes_max",
        "268435456",
        "Bytes of one message of a Flight client, e.g. a batch that it ingests.",
    ),
    key(
        "metadata.url",
        "sqlite in the data folder (control.db)",
        "Database of users and of the SQL catalog: `sqlite:///path/file.db` or `postgres://user:password@host/database`.",
    ),
    key(
        "catalog.NAME.kind",
        "sql",
        "Kind of catalog; `sql` keeps table pointers in the metadata database.",
    ),
    key(
        "catalog.NAME.warehouse",
        "warehouse/ in the data folder",
        "Where new tables go: a folder or `s3://bucket/prefix`. The catalog `lake` always exists.",
    ),
    key(
        "catalog.NAME.uri",
        "metadata.url",
        "Database of this catalog, if it is another one.",
    ),
    key("catalog.NAME.token", "", "Reserved for REST catalogs."),
    typed(
        "storage.allowed_roots",
        "[]",
        "Folders and `s3://` prefixes that file functions may read, COPY may write, and tables outside of the warehouse may lie in.",
    ),
    key(
        "storage.s3.endpoint",
        "AWS",
        "URL of an S3-compatible service.",
    ),
    key("storage.s3.region", "us-east-1", "Region."),
    key("storage.s3.access_key_id", "", "Access key."),
    key("storage.s3.secret_access_key", "", "Its secret."),
    key(
        "storage.s3.session_token",
        "",
        "Session token of temporary credentials.",
    ),
    typed(
        "storage.s3.path_style",
        "true with an endpoint",
        "`https://host/bucket/key` instead of `https://bucket.host/key`.",
    ),
    key(
        "cluster.name",
        "default",
        "Name of the cluster; a worker of another one is refused. Flag `--cluster` of `tarn worker`.",
    ),
    key(
        "cluster.secret",
        "generated, in the data folder (cluster-secret)",
        "What the processes of a cluster share, 16 characters or more. Give it to workers as TARN__CLUSTER__SECRET.",
    ),
    key(
        "cluster.advertise_url",
        "from listen.worker",
        "URL under which coordinator and other workers reach this worker.",
    ),
    key(
        "cluster.ca_file",
        "the system's authorities",
        "Authority (PEM) of the certificate of a coordinator with an https URL; flag `--ca-file` of `tarn worker`.",
    ),
    typed(
        "memory.limit_bytes",
        "70 % of the machine or its control group, shared with local workers, less caches",
        "Memory for the operators of all statements in one process.",
    ),
    typed(
        "memory.query_limit_bytes",
        "half of memory.limit_bytes",
        "Memory for the operators of one statement in one process.",
    ),
    typed(
        "spill.limit_bytes",
        "107374182400",
        "Disk for spilled operators in one process.",
    ),
    typed(
        "admission.running",
        "one for each 128 MiB of memory.limit_bytes, 4 to 64",
        "Statements that run at once. Those that read nothing but catalogs and settings do not count.",
    ),
    typed(
        "admission.queue",
        "1000",
        "Statements that wait for their turn; users take turns. `SHOW QUERIES` shows their places.",
    ),
    key(
        "admission.queue_timeout",
        "5min",
        "How long a statement waits for its turn; 0 for as long as it takes.",
    ),
    typed(
        "limits.sessions",
        "5000",
        "Sessions at once on all doors; administrators may have 3 more.",
    ),
    typed(
        "limits.sessions_per_user",
        "2000",
        "Sessions of one user at once.",
    ),
    key(
        "limits.idle_timeout",
        "12h",
        "A connection without a statement for this long is ended; 0 for never. Sessions of HTTP clients are forgotten after an hour at most.",
    ),
    typed(
        "auth.pair_failures",
        "10",
        "Logins of one account from one address that may fail at once; more must wait. Failures only are counted, in each process by itself.",
    ),
    key(
        "auth.pair_refill",
        "30s",
        "One more of them may fail each time this has passed.",
    ),
    typed(
        "auth.address_failures",
        "50",
        "Logins from one address that may fail at once, whatever the account. Does not hold for accounts that have logged in from there lately. An address is one of IPv4 or a /64 network of IPv6.",
    ),
    key(
        "auth.address_refill",
        "6s",
        "One more of them may fail each time this has passed.",
    ),
    typed(
        "auth.account_failures",
        "100",
        "Logins of one account that may fail at once, whatever the address; more than auth.pair_failures, so that one address cannot lock the account for the others.",
    ),
    key(
        "auth.account_refill",
        "10s",
        "One more of them may fail each time this has passed; not longer than auth.pair_refill.",
    ),
    typed(
        "cache.manifest_bytes",
        "268435456",
        "Memory for Iceberg manifests.",
    ),
    typed(
        "cache.footer_bytes",
        "2 % of the machine (at most 1 GiB), shared with local workers; 50 MiB or more",
        "Memory for parsed footers of Parquet files, in one process.",
    ),
    typed(
        "cache.memory_bytes",
        "15 % of the machine, shared with local workers",
        "Memory for parts of data files that were read from S3, in one process; 0 keeps none.",
    ),
    typed(
        "cache.disk_bytes",
        "10 % of the free disk, at most 10 GiB, shared with local workers",
        "Disk, in the folder `cache` of the data folder, for parts of data files that were read from S3, in one process; 0 keeps none. They survive a restart.",
    ),
    key(
        "log.format",
        "auto",
        "`text`, `json`, or `auto`: text on a terminal, JSON elsewhere.",
    ),
    key(
        "log.level",
        "info",
        "Level, or directives such as `info,tarn_engine=debug`.",
    ),
];
