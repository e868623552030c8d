import static java.util.Map.entry;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;

/**
 * pgjdbc: metadata, fetch size, batches, cancel, server-prepared statements, every type in
 * text and binary, COPY. The same checks pass on PostgreSQL (TARN_TEST_SERVER=postgres).
 */
public final class PgJdbc {
    private static final String SCHEMA = "c_pgjdbc";
    private static final boolean TARN = !"postgres".equals(System.getenv("TARN_TEST_SERVER"));
    private static final String DATABASE = System.getenv("PGDATABASE");
    private static final String USER = System.getenv("PGUSER");
    private static final String LONG_QUERY =
            "SELECT count(*) FROM generate_series(1, 2000000000) AS a(x), generate_series(1, 1000) AS b(y)";

    private PgJdbc() {
    }

    private static Connection connect(String... options) throws SQLException {
        Properties properties = new Properties();
        properties.put("user", USER);
        properties.put("password", System.getenv("PGPASSWORD"));
        for (int i = 0; i < options.length; i += 2) {
            properties.put(options[i], options[i + 1]);
        }
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + DATABASE;
        return DriverManager.getConnection(url, properties);
    }

    private static void execute(Connection connection, String... statements) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    /** All rows, their values as text, of the named columns or of all. */
    private static List<List<String>> rows(ResultSet result, String... columns) throws SQLException {
        List<List<String>> rows = new ArrayList<>();
        try (result) {
            int count = result.getMetaData().getColumnCount();
            while (result.next()) {
                List<String> row = new ArrayList<>();
                if (columns.length == 0) {
                    for (int i = 1; i <= count; i++) {
                        row.add(result.getString(i));
                    }
                }
                for (String column : columns) {
                    row.add(result.getString(column));
                }
                rows.add(row);
            }
        }
        return rows;
    }

    private static List<List<String>> query(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return rows(statement.executeQuery(sql));
        }
    }

    private static String state(Checks.Check check) throws Exception {
        try {
            check.run();
        } catch (SQLException error) {
            return error.getSQLState();
        }
        throw new AssertionError("succeeded");
    }

    private static List<String> row(String... values) {
        return Arrays.asList(values);
    }

    private static void setup(Connection connection) throws SQLException {
        execute(connection, "DROP SCHEMA IF EXISTS " + SCHEMA + " CASCADE", "CREATE SCHEMA " + SCHEMA,
                "CREATE TABLE " + SCHEMA + ".every_type (id bigint NOT NULL, b boolean, i integer, l bigint, f real, d double precision, "
                        + "n numeric(12,2), s text, bin bytea, u uuid, day date, clock time, at timestamp, atz timestamptz, "
                        + "longs bigint[], texts text[])",
                "CREATE TABLE " + SCHEMA + ".batch (id bigint, name text)",
                "CREATE VIEW " + SCHEMA + ".a_view AS SELECT id, s FROM " + SCHEMA + ".every_type",
                "COMMENT ON TABLE " + SCHEMA + ".every_type IS 'one of each'",
                "COMMENT ON COLUMN " + SCHEMA + ".every_type.n IS 'money'",
                "INSERT INTO " + SCHEMA + ".every_type VALUES (1, true, 2147483647, 9223372036854775807, 1.5, 1e300, 1234567.89, 'naïve ☃', "
                        + "'\\x00ff', '11111111-2222-3333-4444-555555555555', '2024-02-29', '23:59:59.999999', '2024-02-29 23:59:59.999999', "
                        + "'2024-02-29 23:59:59.999999+00', ARRAY[1, NULL, 3], ARRAY['a', 'b \"c\"', NULL])",
                "INSERT INTO " + SCHEMA + ".every_type (id) VALUES (2)");
    }

    private static void metadata(Checks checks, Connection connection) throws SQLException {
        DatabaseMetaData meta = connection.getMetaData();
        checks.check("product_and_limits", () -> {
            Checks.equal(meta.getDatabaseProductName(), "PostgreSQL");
            if (meta.getDatabaseMajorVersion() < 14) {
                throw new AssertionError(meta.getDatabaseProductVersion());
            }
            Checks.equal(meta.getMaxColumnNameLength(), 63);
            Checks.equal(meta.getIdentifierQuoteString(), "\"");
            if (!meta.getSQLKeywords().contains("analyze")) {
                throw new AssertionError(meta.getSQLKeywords());
            }
            Checks.equal(meta.getUserName(), USER);
            meta.getDefaultTransactionIsolation();
            meta.getStringFunctions();
            meta.isReadOnly();
        });
        checks.check("catalogs_and_schemas", () -> {
            if (!rows(meta.getCatalogs()).contains(row(DATABASE))) {
                throw new AssertionError(rows(meta.getCatalogs()));
            }
            Checks.equal(rows(meta.getSchemas(null, "c\\_pgjdbc"), "TABLE_SCHEM"), List.of(row(SCHEMA)));
            List<List<String>> schemas = rows(meta.getSchemas(), "TABLE_SCHEM");
            for (String schema : List.of(SCHEMA, "information_schema", "pg_catalog")) {
                if (!schemas.contains(row(schema))) {
                    throw new AssertionError(schemas);
                }
            }
            Checks.equal(connection.getCatalog(), DATABASE);
        });
        checks.check("tables_and_views", () -> {
            Checks.equal(rows(meta.getTables(null, SCHEMA, "%", null), "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE", "REMARKS"), List.of(
                    row(SCHEMA, "batch", "TABLE", null), row(SCHEMA, "every_type", "TABLE", "one of each"), row(SCHEMA, "a_view", "VIEW", null)));
            Checks.equal(rows(meta.getTables(DATABASE, SCHEMA, "every\\_%", new String[] {"TABLE"}), "TABLE_NAME"), List.of(row("every_type")));
            Checks.equal(rows(meta.getTables(DATABASE, SCHEMA, "%", new String[] {"VIEW"}), "TABLE_NAME"), List.of(row("a_view")));
            Checks.equal(rows(meta.getTables(null, SCHEMA, "%", new String[] {"SEQUENCE", "INDEX", "MATERIALIZED VIEW"})), List.of());
            if (rows(meta.getTables(null, "pg_catalog", "pg_cl%", new String[] {"SYSTEM TABLE"})).isEmpty()) {
                throw new AssertionError("pg_class is no system table");
            }
            if (!rows(meta.getTableTypes()).contains(row("VIEW"))) {
                throw new AssertionError();
            }
        });
        checks.check("columns", () -> Checks.equal(rows(meta.getColumns(null, SCHEMA, "every_type", "%"), "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME",
                "COLUMN_SIZE", "DECIMAL_DIGITS", "NULLABLE", "REMARKS", "ORDINAL_POSITION", "IS_AUTOINCREMENT"), List.of(
                row("id", "-5", "int8", "19", "0", "0", null, "1", "NO"), row("b", "-7", "bool", "1", "0", "1", null, "2", "NO"),
                row("i", "4", "int4", "10", "0", "1", null, "3", "NO"), row("l", "-5", "int8", "19", "0", "1", null, "4", "NO"),
                row("f", "7", "float4", "8", "8", "1", null, "5", "NO"), row("d", "8", "float8", "17", "17", "1", null, "6", "NO"),
                row("n", "2", "numeric", "12", "2", "1", "money", "7", "NO"), row("s", "12", "text", "2147483647", "0", "1", null, "8", "NO"),
                row("bin", "-2", "bytea", "2147483647", "0", "1", null, "9", "NO"), row("u", "1111", "uuid", "2147483647", "0", "1", null, "10", "NO"),
                row("day", "91", "date", "13", "0", "1", null, "11", "NO"), row("clock", "92", "time", "15", "6", "1", null, "12", "NO"),
                row("at", "93", "timestamp", "29", "6", "1", null, "13", "NO"), row("atz", "93", "timestamptz", "35", "6", "1", null, "14", "NO"),
                row("longs", "2003", "_int8", "19", "0", "1", null, "15", "NO"), row("texts", "2003", "_text", "2147483647", "0", "1", null, "16", "NO"))));
        checks.check("keys_and_indexes_are_none", () -> {
            Checks.equal(rows(meta.getPrimaryKeys(null, SCHEMA, "every_type")), List.of());
            Checks.equal(rows(meta.getImportedKeys(null, SCHEMA, "every_type")), List.of());
            Checks.equal(rows(meta.getExportedKeys(null, SCHEMA, "every_type")), List.of());
            Checks.equal(rows(meta.getCrossReference(null, SCHEMA, "every_type", null, SCHEMA, "batch")), List.of());
            Checks.equal(rows(meta.getIndexInfo(null, SCHEMA, "every_type", false, true)), List.of());
            Checks.equal(rows(meta.getBestRowIdentifier(null, SCHEMA, "every_type", DatabaseMetaData.bestRowSession, true)), List.of());
            rows(meta.getVersionColumns(null, SCHEMA, "every_type"));
        });
        checks.check("types_and_functions", () -> {
            List<List<String>> types = rows(meta.getTypeInfo(), "TYPE_NAME", "DATA_TYPE");
            for (List<String> type : List.of(row("int8", "-5"), row("text", "12"), row("timestamptz", "93"), row("numeric", "2"), row("_text", "2003"))) {
                if (!types.contains(type)) {
                    throw new AssertionError(type + " not in " + types);
                }
            }
            Checks.equal(rows(meta.getUDTs(null, SCHEMA, "nope%", null)), List.of());
            Checks.equal(rows(meta.getProcedures(null, SCHEMA, "%")), List.of());
            Checks.equal(rows(meta.getProcedureColumns(null, SCHEMA, "%", "%")), List.of());
            if (rows(meta.getFunctions(null, "pg_catalog", "upper")).isEmpty()) {
                throw new AssertionError("upper is no function");
            }
            if (rows(meta.getFunctionColumns(null, "pg_catalog", "upper", "%")).isEmpty()) {
                throw new AssertionError("upper has no columns");
            }
            rows(meta.getClientInfoProperties());
        });
        checks.check("privileges", () -> {
            List<List<String>> privileges = rows(meta.getTablePrivileges(null, SCHEMA, "every_type"), "GRANTEE", "PRIVILEGE");
            if (!privileges.contains(row(USER, "SELECT"))) {
                throw new AssertionError(privileges);
            }
            rows(meta.getColumnPrivileges(null, SCHEMA, "every_type", "%"));
        });
        checks.check("result_metadata", () -> {
            try (Statement statement = connection.createStatement();
                    ResultSet result = statement.executeQuery("SELECT id, n AS amount, s, atz, longs FROM " + SCHEMA + ".every_type")) {
                ResultSetMetaData columns = result.getMetaData();
                Checks.equal(columns.getColumnLabel(2), "amount");
                Checks.equal(List.of(columns.getColumnTypeName(1), columns.getColumnTypeName(2), columns.getColumnTypeName(5)), List.of("int8", "numeric", "_int8"));
                Checks.equal(List.of(columns.getPrecision(2), columns.getScale(2)), List.of(12, 2));
                Checks.equal(List.of(columns.getColumnType(4), columns.getColumnClassName(4)), List.of(Types.TIMESTAMP, "java.sql.Timestamp"));
                Checks.equal(columns.isAutoIncrement(1), false);
                columns.isNullable(1);
                columns.getTableName(1);
            }
        });
        checks.check("parameter_metadata", () -> {
            try (PreparedStatement statement = connection.prepareStatement("SELECT s FROM " + SCHEMA + ".every_type WHERE id = ? AND n > ? AND s LIKE ? AND day < ?")) {
                ParameterMetaData parameters = statement.getParameterMetaData();
                List<String> types = new ArrayList<>();
                for (int i = 1; i <= parameters.getParameterCount(); i++) {
                    types.add(parameters.getParameterTypeName(i));
                }
                Checks.equal(types, List.of("int8", "numeric", "text", "date"));
                ResultSetMetaData columns = statement.getMetaData();
                Checks.equal(columns.getColumnName(1), "s");
            }
        });
    }

    private static void values(Checks checks, String mode, String... options) {
        checks.check("every_type_" + mode, () -> {
            try (Connection connection = connect(options);
                    PreparedStatement statement = connection.prepareStatement("SELECT * FROM " + SCHEMA + ".every_type WHERE id = ?")) {
                // More runs than the threshold, so that later ones are prepared on the server and binary.
                for (int run = 0; run < 8; run++) {
                    statement.setLong(1, 1);
                    try (ResultSet result = statement.executeQuery()) {
                        result.next();
                        Checks.equal(result.getBoolean("b"), true);
                        Checks.equal(result.getInt("i"), Integer.MAX_VALUE);
                        Checks.equal(result.getLong("l"), Long.MAX_VALUE);
                        Checks.equal(result.getFloat("f"), 1.5f);
                        Checks.equal(result.getDouble("d"), 1e300);
                        Checks.equal(result.getBigDecimal("n"), new BigDecimal("1234567.89"));
                        Checks.equal(result.getString("s"), "naïve ☃");
                        Checks.equal(result.getBytes("bin"), new byte[] {0, (byte) 0xff});
                        Checks.equal(result.getObject("u"), UUID.fromString("11111111-2222-3333-4444-555555555555"));
                        Checks.equal(result.getObject("day", LocalDate.class), LocalDate.of(2024, 2, 29));
                        Checks.equal(result.getString("clock"), "23:59:59.999999");
                        Checks.equal(result.getObject("clock", LocalTime.class), LocalTime.parse("23:59:59.999999"));
                        Checks.equal(result.getObject("at", LocalDateTime.class), LocalDateTime.parse("2024-02-29T23:59:59.999999"));
                        Checks.equal(result.getObject("atz", OffsetDateTime.class), OffsetDateTime.of(2024, 2, 29, 23, 59, 59, 999999000, ZoneOffset.UTC));
                        Checks.equal(result.getArray("longs").getArray(), new Long[] {1L, null, 3L});
                        Checks.equal(result.getArray("texts").getArray(), new String[] {"a", "b \"c\"", null});
                    }
                    statement.setLong(1, 2);
                    try (ResultSet result = statement.executeQuery()) {
                        result.next();
                        for (int i = 2; i <= 16; i++) {
                            Checks.equal(result.getObject(i), null);
                        }
                    }
                }
                Checks.equal(statement.unwrap(PGStatement.class).isUseServerPrepare(), true);
            }
        });
        checks.check("every_parameter_" + mode, () -> {
            try (Connection connection = connect(options);
                    PreparedStatement statement = connection.prepareStatement(
                            "SELECT ?::boolean, ?::int, ?::bigint, ?::real, ?::double precision, ?::numeric, ?::text, ?::bytea, ?::uuid, ?::date, ?::time, "
                                    + "?::timestamp, ?::timestamptz, ?::bigint[], ?::text[]")) {
                UUID uuid = UUID.randomUUID();
                OffsetDateTime now = OffsetDateTime.parse("2026-11-01T10:11:12.123456Z");
                Array longs = connection.createArrayOf("bigint", new Long[] {1L, null, -3L});
                Array texts = connection.createArrayOf("text", new String[] {"x,y", null, "q\"'\\"});
                Object[] values = {false, -1, Long.MIN_VALUE, 0.25f, -1e-300, new BigDecimal("-12345678901234567890.123456789"), "it's ☃", new byte[] {1, 0, -1}, uuid,
                        LocalDate.of(1969, 12, 31), LocalTime.of(1, 2, 3), LocalDateTime.of(1900, 1, 1, 0, 0, 0), now, longs, texts};
                for (int run = 0; run < 8; run++) {
                    for (int i = 0; i < values.length; i++) {
                        statement.setObject(i + 1, values[i]);
                    }
                    try (ResultSet result = statement.executeQuery()) {
                        result.next();
                        Checks.equal(result.getObject(1), false);
                        Checks.equal(result.getObject(2), -1);
                        Checks.equal(result.getObject(3), Long.MIN_VALUE);
                        Checks.equal(result.getObject(4), 0.25f);
                        Checks.equal(result.getObject(5), -1e-300);
                        Checks.equal(result.getBigDecimal(6).compareTo((BigDecimal) values[5]), 0);
                        Checks.equal(result.getObject(7), values[6]);
                        Checks.equal(result.getBytes(8), values[7]);
                        Checks.equal(result.getObject(9), uuid);
                        Checks.equal(result.getObject(10, LocalDate.class), values[9]);
                        Checks.equal(result.getObject(11, LocalTime.class), values[10]);
                        Checks.equal(result.getObject(12, LocalDateTime.class), values[11]);
                        Checks.equal(result.getObject(13, OffsetDateTime.class), now);
                        Checks.equal(result.getArray(14).getArray(), new Long[] {1L, null, -3L});
                        Checks.equal(result.getArray(15).getArray(), new String[] {"x,y", null, "q\"'\\"});
                    }
                }
                for (int i = 0; i < values.length; i++) {
                    statement.setNull(i + 1, Types.NULL);
                }
                try (ResultSet result = statement.executeQuery()) {
                    result.next();
                    for (int i = 1; i <= values.length; i++) {
                        Checks.equal(result.getObject(i), null);
                    }
                }
            }
        });
    }

    private static void statements(Checks checks, Connection connection) {
        checks.check("fetch_size_reads_a_suspended_portal", () -> {
            try (Connection own = connect()) {
                own.setAutoCommit(false);
                try (Statement statement = own.createStatement()) {
                    statement.setFetchSize(1000);
                    long sum = 0;
                    int count = 0;
                    try (ResultSet result = statement.executeQuery("SELECT n FROM generate_series(1, 100000) AS t(n) ORDER BY n")) {
                        while (result.next()) {
                            sum += result.getLong(1);
                            count++;
                        }
                    }
                    Checks.equal(List.of(count, sum), List.of(100000, 5000050000L));
                    // Two portals of one transaction, read in turns; one is left before its end.
                    try (Statement other = own.createStatement()) {
                        statement.setFetchSize(2);
                        other.setFetchSize(3);
                        ResultSet a = statement.executeQuery("SELECT n FROM generate_series(1, 1000) AS t(n) ORDER BY n");
                        ResultSet b = other.executeQuery("SELECT n FROM generate_series(2001, 3000) AS t(n) ORDER BY n");
                        for (int i = 1; i <= 10; i++) {
                            a.next();
                            b.next();
                            Checks.equal(List.of(a.getInt(1), b.getInt(1)), List.of(i, 2000 + i));
                        }
                        a.close();
                        b.next();
                        Checks.equal(b.getInt(1), 2011);
                    }
                    statement.setFetchSize(0);
                    statement.setMaxRows(5);
                    Checks.equal(rows(statement.executeQuery("SELECT n FROM generate_series(1, 1000) AS t(n)")).size(), 5);
                }
                own.rollback();
            }
        });
        checks.check("batches_insert", () -> {
            for (String rewrite : List.of("false", "true")) {
                try (Connection own = connect("reWriteBatchedInserts", rewrite);
                        PreparedStatement statement = own.prepareStatement("INSERT INTO " + SCHEMA + ".batch VALUES (?, ?)")) {
                    own.setAutoCommit(false);
                    for (int i = 0; i < 20; i++) {
                        statement.setLong(1, i);
                        statement.setString(2, i % 3 == 0 ? null : rewrite + i);
                        statement.addBatch();
                    }
                    Checks.equal(statement.executeBatch().length, 20);
                    own.commit();
                }
            }
            Checks.equal(query(connection, "SELECT count(*), count(name), sum(id) FROM " + SCHEMA + ".batch"), List.of(row("40", "26", "380")));
            try (PreparedStatement statement = connection.prepareStatement("INSERT INTO " + SCHEMA + ".batch VALUES (?::bigint, 'bad')")) {
                statement.setString(1, "100");
                statement.addBatch();
                statement.setString(1, "no number");
                statement.addBatch();
                statement.executeBatch();
                throw new AssertionError("a bad batch succeeded");
            } catch (BatchUpdateException error) {
                Checks.equal(error.getSQLState(), "22P02");
            }
            try (Statement statement = connection.createStatement()) {
                Checks.equal(statement.executeUpdate("INSERT INTO " + SCHEMA + ".batch VALUES (7, 'x'), (8, 'y')"), 2);
            }
        });
        checks.check("cancel_and_timeout_stop_a_query", () -> {
            try (Connection own = connect(); Statement statement = own.createStatement()) {
                CompletableFuture<Void> cancel = CompletableFuture.runAsync(() -> {
                    try {
                        statement.cancel();
                    } catch (SQLException error) {
                        throw new IllegalStateException(error);
                    }
                }, CompletableFuture.delayedExecutor(700, TimeUnit.MILLISECONDS));
                long started = System.nanoTime();
                Checks.equal(state(() -> statement.executeQuery(LONG_QUERY)), "57014");
                cancel.get();
                if (System.nanoTime() - started > 15e9) {
                    throw new AssertionError("the cancel came late");
                }
                Checks.equal(query(own, "SELECT 'alive'"), List.of(row("alive")));
                statement.setQueryTimeout(1);
                Checks.equal(state(() -> statement.executeQuery(LONG_QUERY)), "57014");
                execute(own, "SET statement_timeout = 300");
                try (Statement third = own.createStatement()) {
                    Checks.equal(state(() -> third.executeQuery(LONG_QUERY)), "57014");
                }
            }
        });
        checks.check("transactions", () -> {
            try (Connection own = connect()) {
                own.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                own.setReadOnly(true);
                own.setAutoCommit(false);
                Checks.equal(query(own, "SELECT 1"), List.of(row("1")));
                Checks.equal(state(() -> query(own, "SELECT 1/0")), "22012");
                Checks.equal(state(() -> query(own, "SELECT 2")), "25P02");
                own.rollback();
                own.setReadOnly(false);
                own.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
                Savepoint savepoint = own.setSavepoint("before");
                Checks.equal(state(() -> query(own, "SELECT * FROM nowhere")), "42P01");
                own.rollback(savepoint);
                Checks.equal(query(own, "SELECT 3"), List.of(row("3")));
                own.releaseSavepoint(savepoint);
                own.commit();
                own.setAutoCommit(true);
                own.setSchema(SCHEMA);
                Checks.equal(own.getSchema(), SCHEMA);
                Checks.equal(query(own, "SELECT count(*) FROM every_type"), List.of(row("2")));
                Checks.equal(own.isValid(5), true);
                own.setClientInfo("ApplicationName", "my program");
                Checks.equal(query(own, "SHOW application_name"), List.of(row("my program")));
                execute(own, "DISCARD ALL");
            }
        });
        checks.check("a_read_only_connection_refuses_writes", () -> {
            try (Connection own = connect()) {
                own.setReadOnly(true);
                own.setAutoCommit(false);
                Checks.equal(state(() -> execute(own, "INSERT INTO " + SCHEMA + ".batch VALUES (1, 'no')")), "25006");
                own.rollback();
            }
        });
        checks.check("several_statements_in_one_string", () -> {
            try (Statement statement = connection.createStatement()) {
                Checks.equal(statement.execute("SELECT 1; INSERT INTO " + SCHEMA + ".batch VALUES (50, 'm'); SELECT 'three'"), true);
                Checks.equal(rows(statement.getResultSet()), List.of(row("1")));
                Checks.equal(statement.getMoreResults(), false);
                Checks.equal(statement.getUpdateCount(), 1);
                Checks.equal(statement.getMoreResults(), true);
                Checks.equal(rows(statement.getResultSet()), List.of(row("three")));
                Checks.equal(statement.getMoreResults(), false);
                Checks.equal(statement.getUpdateCount(), -1);
            }
        });
        checks.check("errors_have_state_and_position", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.executeQuery("SELECT\n nope FROM " + SCHEMA + ".every_type");
                throw new AssertionError("succeeded");
            } catch (org.postgresql.util.PSQLException error) {
                Checks.equal(error.getSQLState(), "42703");
                Checks.equal(error.getServerErrorMessage().getPosition(), 9);
                Checks.equal(error.getServerErrorMessage().getSeverity(), "ERROR");
            }
            Map<String, String> expected = Map.ofEntries(entry("SELEC", "42601"), entry("SELECT * FROM nope", "42P01"), entry("SELECT nope()", "42883"));
            for (Map.Entry<String, String> pair : expected.entrySet()) {
                Checks.equal(state(() -> query(connection, pair.getKey())), pair.getValue());
            }
            // A statement that names a parameter must get it.
            try (PreparedStatement statement = connection.prepareStatement("SELECT ?::int")) {
                statement.setString(1, "no number");
                Checks.equal(state(statement::executeQuery), "22P02");
            }
        });
        checks.check("an_escape_of_jdbc_works", () -> {
            Checks.equal(query(connection, "SELECT {d '2024-02-29'}, {ts '2024-02-29 01:02:03'}, {fn ucase('x')}, {fn concat('a', 'b')}, {fn char_length('abc')}, {fn length('abc ')}"),
                    List.of(row("2024-02-29", "2024-02-29 01:02:03", "X", "ab", "3", "3")));
        });
        checks.check("unusual_types_arrive", () -> {
            try (Statement statement = connection.createStatement();
                    ResultSet result = statement.executeQuery("SELECT interval '1 day 02:03:04.5', '{\"a\": [1, 2]}'::json, NULL, 'u', 1.50, -0.0::float8, 'infinity'::float8")) {
                result.next();
                Checks.equal(result.getObject(1), new PGInterval(0, 0, 1, 2, 3, 4.5));
                Checks.equal(((PGobject) result.getObject(2)).getType(), "json");
                Checks.equal(result.getString(2), "{\"a\": [1, 2]}");
                Checks.equal(result.getObject(3), null);
                Checks.equal(result.getObject(4), "u");
                Checks.equal(result.getBigDecimal(5), new BigDecimal("1.50"));
                Checks.equal(result.getDouble(7), Double.POSITIVE_INFINITY);
            }
        });
        checks.check("what_cannot_be_is_refused_by_name", () -> {
            if (TARN) {
                Checks.equal(state(() -> execute(connection, "UPDATE " + SCHEMA + ".batch SET name = 'x' WHERE id = 1")), "0A000");
                Checks.equal(state(() -> execute(connection, "DELETE FROM " + SCHEMA + ".batch WHERE id = 1")), "0A000");
                Checks.equal(state(() -> execute(connection, "INSERT INTO " + SCHEMA + ".batch VALUES (1, 'x') RETURNING id")), "0A000");
                Checks.equal(state(() -> execute(connection, "CREATE INDEX x ON " + SCHEMA + ".batch (id)")), "0A000");
                Checks.equal(state(() -> execute(connection, "LISTEN a")), "0A000");
            }
        });
    }

    private static void copy(Checks checks, Connection connection) {
        checks.check("copy_manager_copies_in_and_out", () -> {
            CopyManager copies = connection.unwrap(PGConnection.class).getCopyAPI();
            execute(connection, "CREATE TABLE " + SCHEMA + ".copied (id bigint, name text)");
            byte[] csv = "1,one\n2,\"two, \"\"2\"\"\"\n3,\n".getBytes(StandardCharsets.UTF_8);
            Checks.equal(copies.copyIn("COPY " + SCHEMA + ".copied FROM STDIN WITH (FORMAT csv)", new ByteArrayInputStream(csv)), 3L);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            Checks.equal(copies.copyOut("COPY (SELECT * FROM " + SCHEMA + ".copied ORDER BY id) TO STDOUT WITH (FORMAT csv)", out), 3L);
            Checks.equal(out.toByteArray(), csv);
            ByteArrayOutputStream binary = new ByteArrayOutputStream();
            copies.copyOut("COPY " + SCHEMA + ".copied TO STDOUT WITH (FORMAT binary)", binary);
            Checks.equal(copies.copyIn("COPY " + SCHEMA + ".copied FROM STDIN WITH (FORMAT binary)", new ByteArrayInputStream(binary.toByteArray())), 3L);
            Checks.equal(query(connection, "SELECT count(*), sum(id) FROM " + SCHEMA + ".copied"), List.of(row("6", "12")));
            Checks.equal(state(() -> copies.copyIn("COPY " + SCHEMA + ".copied FROM STDIN", new ByteArrayInputStream("x\ty\n".getBytes(StandardCharsets.UTF_8)))), "22P02");
            Checks.equal(query(connection, "SELECT count(*) FROM " + SCHEMA + ".copied"), List.of(row("6")));
        });
    }

    public static void main(String[] wanted) throws Exception {
        java.util.TimeZone.setDefault(java.util.TimeZone.getTimeZone("UTC"));
        Checks checks = new Checks(wanted);
        int code;
        try (Connection connection = connect()) {
            setup(connection);
            metadata(checks, connection);
            values(checks, "extended");
            values(checks, "binary", "binaryTransfer", "true", "prepareThreshold", "-1");
            values(checks, "text", "binaryTransfer", "false");
            values(checks, "simple", "preferQueryMode", "simple");
            statements(checks, connection);
            copy(checks, connection);
            execute(connection, "DROP SCHEMA " + SCHEMA + " CASCADE");
            code = checks.finish();
        }
        System.exit(code);
    }
}
