import java.io.PrintWriter;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;

/**
 * What a program with the Arrow Flight SQL JDBC driver may expect of Tarn.
 *
 * <p>Every check says what it wanted and what it got; the first that fails ends the program.
 */
public final class FlightJdbc {
  private static final String HOST = Objects.requireNonNull(System.getenv("FLIGHT_HOST"));
  private static final String PORT = Objects.requireNonNull(System.getenv("FLIGHT_PORT"));
  private static final String PASSWORD = Objects.requireNonNull(System.getenv("TARN_PASSWORD"));
  private static final String CA = System.getenv("FLIGHT_CA");

  private FlightJdbc() {}

  private interface Step {
    void run() throws Exception;
  }

  /** The steps named by the arguments, or all. */
  public static void main(String[] args) {
    wanted.addAll(Arrays.asList(args));
    wanted.remove("all");
    try {
      step("connect", FlightJdbc::connecting);
      step("metadata", FlightJdbc::metadata);
      step("abilities", FlightJdbc::abilities);
      step("types", FlightJdbc::types);
      step("prepared", FlightJdbc::prepared);
      step("updates", FlightJdbc::updates);
      step("batch", FlightJdbc::batch);
      step("errors", FlightJdbc::errors);
      step("catalog", FlightJdbc::catalog);
      step("tokens", FlightJdbc::tokens);
      step("large result", FlightJdbc::large);
      step("cancel", FlightJdbc::cancel);
      step("short queries", FlightJdbc::many);
    } catch (Throwable failure) {
      StringWriter text = new StringWriter();
      failure.printStackTrace(new PrintWriter(text));
      System.out.println("FAILED: " + text);
      System.exit(1);
    }
    System.out.println("flight-jdbc passed");
    // The driver's threads do not end by themselves.
    System.exit(0);
  }

  private static final Set<String> wanted = new HashSet<>();

  private static void step(String name, Step step) throws Exception {
    if (!wanted.isEmpty() && !wanted.contains(name)) {
      return;
    }
    long started = System.nanoTime();
    System.out.println("-- " + name);
    step.run();
    System.out.println("   " + (System.nanoTime() - started) / 1_000_000 + " ms");
  }

  private static void is(Object wanted, Object got, String what) {
    if (!Objects.equals(wanted, got)) {
      throw new AssertionError(what + ": wanted <" + wanted + ">, got <" + got + ">");
    }
  }

  private static void holds(boolean truth, String what) {
    if (!truth) {
      throw new AssertionError(what);
    }
  }

  private static String url() {
    String url = "jdbc:arrow-flight-sql://" + HOST + ":" + PORT;
    return CA == null
        ? url + "/?useEncryption=false"
        : url + "/?useEncryption=true&useSystemTrustStore=false&tlsRootCerts=" + CA;
  }

  private static Connection connect() throws SQLException {
    return connect("admin", PASSWORD);
  }

  private static Connection connect(String user, String password) throws SQLException {
    Properties properties = new Properties();
    properties.put("user", user);
    properties.put("password", password);
    return DriverManager.getConnection(url(), properties);
  }

  private static SQLException refused(Step step, String what) throws Exception {
    try {
      step.run();
    } catch (SQLException expected) {
      return expected;
    } catch (RuntimeException expected) {
      return new SQLException(expected);
    }
    throw new AssertionError(what + " was not refused");
  }

  private static String chain(Throwable error) {
    StringBuilder text = new StringBuilder();
    for (Throwable at = error; at != null; at = at.getCause()) {
      text.append(at.getMessage()).append('\n');
    }
    return text.toString();
  }

  private static List<List<Object>> rows(ResultSet result, String... columns) throws SQLException {
    List<List<Object>> rows = new ArrayList<>();
    while (result.next()) {
      List<Object> row = new ArrayList<>();
      for (String column : columns) {
        row.add(result.getObject(column));
      }
      rows.add(row);
    }
    result.close();
    return rows;
  }

  private static void connecting() throws Exception {
    try (Connection connection = connect();
        Statement statement = connection.createStatement();
        ResultSet result = statement.executeQuery("SELECT 1 AS one, 'x' AS text")) {
      holds(result.next(), "one row");
      is(1L, result.getLong("one"), "one");
      is("x", result.getString("text"), "text");
      holds(!result.next(), "only one row");
      holds(connection.isValid(5), "valid");
    }
    SQLException wrong = refused(() -> connect("admin", "wrong").close(), "a wrong password");
    SQLException unknown = refused(() -> connect("nobody", "wrong").close(), "an unknown user");
    is(wrong.getMessage(), unknown.getMessage(), "the answer to an unknown user");
    holds(chain(wrong).contains("UNAUTHENTICATED"), "unauthenticated: " + chain(wrong));
  }

  private static void metadata() throws Exception {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.execute("CREATE SCHEMA jdbc_meta");
      statement.execute(
          "CREATE TABLE jdbc_meta.orders (id bigint NOT NULL COMMENT 'the key', price numeric(12, 2),"
              + " note text, at timestamp, at_tz timestamptz, day date) COMMENT 'what was ordered'");
      statement.execute("CREATE TABLE jdbc_meta.order_lines (id bigint)");
      DatabaseMetaData meta = connection.getMetaData();

      holds(
          rows(meta.getCatalogs(), "TABLE_CAT").contains(List.of("lake")), "the catalog lake");
      List<List<Object>> schemas =
          rows(meta.getSchemas("lake", "jdbc%"), "TABLE_SCHEM", "TABLE_CATALOG");
      is(List.of(List.of("jdbc_meta", "lake")), schemas, "schemas");
      holds(
          rows(meta.getSchemas(), "TABLE_SCHEM").contains(List.of("information_schema")),
          "schemas of the server");

      is(
          List.of(
              List.of("lake", "jdbc_meta", "order_lines", "TABLE"),
              List.of("lake", "jdbc_meta", "orders", "TABLE")),
          rows(
              meta.getTables("lake", "jdbc_meta", "order%", new String[] {"TABLE"}),
              "TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"),
          "tables");
      is(
          List.of(),
          rows(meta.getTables("lake", "jdbc_meta", "%", new String[] {"VIEW"}), "TABLE_NAME"),
          "views among the tables");
      is(List.of(), rows(meta.getTables("other", null, "%", null), "TABLE_NAME"), "other catalog");
      Set<Object> types = new TreeSet<>();
      rows(meta.getTableTypes(), "TABLE_TYPE").forEach(row -> types.add(row.get(0)));
      holds(types.containsAll(List.of("TABLE", "VIEW")), "table types: " + types);

      List<List<Object>> columns =
          rows(
              meta.getColumns("lake", "jdbc_meta", "orders", "%"),
              "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS", "NULLABLE",
              "ORDINAL_POSITION", "IS_NULLABLE", "IS_AUTOINCREMENT");
      is(
          List.of(
              Arrays.asList("id", Types.BIGINT, "bigint", 19, 0, 0, 1, "NO", "NO"),
              Arrays.asList("price", Types.DECIMAL, "numeric(12,2)", 12, 2, 1, 2, "YES", "NO"),
              Arrays.asList("note", Types.VARCHAR, "text", Integer.MAX_VALUE, null, 1, 3, "YES", "NO"),
              Arrays.asList("at", Types.TIMESTAMP, "timestamp without time zone", 26, 6, 1, 4, "YES", "NO"),
              Arrays.asList("at_tz", Types.TIMESTAMP_WITH_TIMEZONE, "timestamp with time zone", 26, 6, 1, 5, "YES", "NO"),
              Arrays.asList("day", Types.DATE, "date", 10, null, 1, 6, "YES", "NO")),
          withoutDateDigits(columns),
          "columns");
      is(
          List.of(List.of("price")),
          rows(meta.getColumns("lake", "jdbc_meta", "orders", "pr%"), "COLUMN_NAME"),
          "columns by pattern");
      is(
          List.of(List.of("id", "the key")),
          rows(meta.getColumns("lake", "jdbc_meta", "orders", "id"), "COLUMN_NAME", "REMARKS"),
          "the comment on a column");
      is(
          List.of("information_schema"),
          distinct(rows(meta.getColumns("lake", "information_schema", "tables", "%"), "TABLE_SCHEM")),
          "columns of a system view");

      is(List.of(), rows(meta.getPrimaryKeys("lake", "jdbc_meta", "orders"), "COLUMN_NAME"), "keys");
      is(List.of(), rows(meta.getImportedKeys("lake", "jdbc_meta", "orders"), "FKTABLE_NAME"), "imported");
      is(List.of(), rows(meta.getExportedKeys("lake", "jdbc_meta", "orders"), "FKTABLE_NAME"), "exported");
      is(
          List.of(),
          rows(
              meta.getCrossReference("lake", "jdbc_meta", "orders", "lake", "jdbc_meta", "order_lines"),
              "FKTABLE_NAME"),
          "cross reference");
      // The driver answers this one itself, with nothing.
      meta.getTypeInfo().close();
      statement.execute("DROP SCHEMA jdbc_meta CASCADE");
    }
  }

  private static List<Object> distinct(List<List<Object>> rows) {
    Set<Object> seen = new TreeSet<>();
    rows.forEach(row -> seen.add(row.get(0)));
    return new ArrayList<>(seen);
  }

  /** The driver fills in 0 for the digits of a date. */
  private static List<List<Object>> withoutDateDigits(List<List<Object>> rows) {
    rows.forEach(
        row -> {
          if (row.get(2).equals("date")) {
            row.set(4, null);
          }
        });
    return rows;
  }

  private static void abilities() throws Exception {
    try (Connection connection = connect()) {
      DatabaseMetaData meta = connection.getMetaData();
      is("Tarn", meta.getDatabaseProductName(), "product");
      holds(meta.getDatabaseProductVersion().matches("\\d+\\.\\d+\\.\\d+"), "version");
      is("\"", meta.getIdentifierQuoteString(), "quote");
      is("\\", meta.getSearchStringEscape(), "escape");
      is("", meta.getExtraNameCharacters(), "extra characters");
      is("schema", meta.getSchemaTerm(), "schema term");
      is("catalog", meta.getCatalogTerm(), "catalog term");
      is("procedure", meta.getProcedureTerm(), "procedure term");
      holds(meta.isCatalogAtStart(), "catalog at start");
      holds(!meta.isReadOnly(), "read only");
      holds(meta.getSQLKeywords().contains("ILIKE"), "keywords");
      holds(meta.getNumericFunctions().contains("abs"), "numeric functions");
      holds(meta.getStringFunctions().contains("upper"), "string functions");
      holds(meta.getSystemFunctions().contains("current_user"), "system functions");
      holds(meta.getTimeDateFunctions().contains("date_trunc"), "time functions");
      holds(meta.supportsColumnAliasing(), "column aliasing");
      holds(meta.nullPlusNonNullIsNull(), "null plus");
      holds(meta.supportsConvert(), "convert");
      holds(meta.supportsConvert(Types.VARCHAR, Types.BIGINT), "varchar to bigint");
      holds(!meta.supportsConvert(Types.BIT, Types.DATE), "bit to date");
      holds(meta.supportsTableCorrelationNames(), "correlation names");
      holds(!meta.supportsDifferentTableCorrelationNames(), "different correlation names");
      holds(meta.supportsExpressionsInOrderBy(), "expressions in ORDER BY");
      holds(meta.supportsOrderByUnrelated(), "unrelated ORDER BY");
      holds(meta.supportsGroupBy(), "GROUP BY");
      holds(meta.supportsGroupByUnrelated(), "unrelated GROUP BY");
      holds(meta.supportsLikeEscapeClause(), "LIKE ESCAPE");
      holds(meta.supportsNonNullableColumns(), "NOT NULL");
      holds(meta.supportsMinimumSQLGrammar(), "minimum grammar");
      holds(meta.supportsCoreSQLGrammar(), "core grammar");
      holds(!meta.supportsExtendedSQLGrammar(), "extended grammar");
      holds(meta.supportsANSI92EntryLevelSQL(), "ANSI 92 entry");
      holds(!meta.supportsANSI92FullSQL(), "ANSI 92 full");
      holds(!meta.supportsIntegrityEnhancementFacility(), "integrity");
      holds(meta.supportsOuterJoins(), "outer joins");
      holds(meta.supportsFullOuterJoins(), "full outer joins");
      holds(meta.supportsLimitedOuterJoins(), "limited outer joins");
      holds(!meta.supportsPositionedDelete(), "positioned delete");
      holds(!meta.supportsSelectForUpdate(), "FOR UPDATE");
      holds(!meta.supportsStoredProcedures(), "procedures");
      holds(meta.supportsSubqueriesInComparisons(), "subqueries in comparisons");
      holds(meta.supportsSubqueriesInExists(), "EXISTS");
      holds(meta.supportsSubqueriesInIns(), "IN");
      holds(meta.supportsSubqueriesInQuantifieds(), "quantified");
      holds(meta.supportsCorrelatedSubqueries(), "correlated");
      holds(meta.supportsUnion(), "UNION");
      holds(meta.supportsUnionAll(), "UNION ALL");
      is(0, meta.getMaxColumnsInTable(), "columns in a table");
      is(1000, meta.getMaxStatements(), "statements");
      is(256, meta.getMaxUserNameLength(), "user name");
      is(Connection.TRANSACTION_NONE, meta.getDefaultTransactionIsolation(), "isolation");
      holds(!meta.supportsTransactions(), "transactions");
      holds(meta.supportsTransactionIsolationLevel(Connection.TRANSACTION_NONE), "no isolation");
      holds(
          !meta.supportsTransactionIsolationLevel(Connection.TRANSACTION_SERIALIZABLE), "serializable");
      holds(!meta.dataDefinitionCausesTransactionCommit(), "DDL commits");
      holds(meta.supportsResultSetType(ResultSet.TYPE_FORWARD_ONLY), "forward only");
      holds(!meta.supportsResultSetType(ResultSet.TYPE_SCROLL_SENSITIVE), "scrolling");
      holds(meta.supportsBatchUpdates(), "batches");
      holds(!meta.supportsSavepoints(), "savepoints");
      holds(!meta.supportsNamedParameters(), "named parameters");
    }
  }

  private static void types() throws Exception {
    String sql =
        "SELECT true AS b, CAST(-5 AS smallint) AS s, CAST(7 AS integer) AS i,"
            + " CAST(9223372036854775807 AS bigint) AS l, CAST(1.5 AS real) AS f,"
            + " CAST(-2.25 AS double precision) AS d, CAST('12345678901234567890.12' AS numeric(38, 2)) AS n,"
            + " 'naïve ☃' AS t, X'00ff' AS x, DATE '2024-02-29' AS day, TIME '13:14:15' AS clock,"
            + " TIMESTAMP '2024-02-29 23:59:59.123456' AS at,"
            + " TIMESTAMPTZ '2024-02-29 23:59:59.5+00' AS at_tz, INTERVAL '1 day 2 hours' AS span,"
            + " ARRAY[1, NULL, 3] AS items, struct(1, 'a') AS pair,"
            + " CAST(NULL AS text) AS nothing, NULL AS unknown";
    try (Connection connection = connect();
        Statement statement = connection.createStatement();
        ResultSet row = statement.executeQuery(sql)) {
      ResultSetMetaData meta = row.getMetaData();
      is(Types.BOOLEAN, meta.getColumnType(1), "boolean");
      is(Types.SMALLINT, meta.getColumnType(2), "smallint");
      is(Types.INTEGER, meta.getColumnType(3), "integer");
      is(Types.BIGINT, meta.getColumnType(4), "bigint");
      is("n", meta.getColumnLabel(7), "label");
      is(38, meta.getPrecision(7), "precision");
      is(2, meta.getScale(7), "scale");
      holds(row.next(), "a row");
      is(true, row.getBoolean("b"), "b");
      is((short) -5, row.getShort("s"), "s");
      is(7, row.getInt("i"), "i");
      is(Long.MAX_VALUE, row.getLong("l"), "l");
      is(1.5f, row.getFloat("f"), "f");
      is(-2.25, row.getDouble("d"), "d");
      is(new BigDecimal("12345678901234567890.12"), row.getBigDecimal("n"), "n");
      is("naïve ☃", row.getString("t"), "t");
      holds(Arrays.equals(new byte[] {0, (byte) 0xff}, row.getBytes("x")), "x");
      is("2024-02-29", row.getDate("day").toString(), "day");
      is("13:14:15", row.getTime("clock").toLocalTime().toString(), "clock");
      is(
          Timestamp.valueOf("2024-02-29 23:59:59.123456"),
          row.getTimestamp("at"),
          "at");
      holds(row.getTimestamp("at_tz") != null, "at_tz");
      holds(row.getObject("span") != null, "span");
      Array items = row.getArray("items");
      is(Arrays.asList(1, null, 3), Arrays.asList((Object[]) items.getArray()), "items");
      Object pair = row.getObject("pair");
      holds(pair instanceof Map, "a struct is a map: " + pair);
      is(null, row.getString("nothing"), "nothing");
      holds(row.wasNull(), "wasNull");
      is(null, row.getObject("unknown"), "unknown");
      holds(!row.next(), "one row");
    }
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.execute("CREATE TABLE jdbc_uuid (u uuid, b bytea)");
      statement.execute(
          "INSERT INTO jdbc_uuid VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', X'01')");
      try (ResultSet row = statement.executeQuery("SELECT u, b FROM jdbc_uuid")) {
        holds(row.next(), "a row");
        holds(row.getObject(1) != null, "uuid");
      }
      statement.execute("DROP TABLE jdbc_uuid");
    }
  }

  private static void prepared() throws Exception {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.execute(
          "CREATE TABLE jdbc_prepared (id bigint, name text, price numeric(10, 2), day date, at timestamp, ok boolean, d double precision)");
      try (PreparedStatement insert =
          connection.prepareStatement("INSERT INTO jdbc_prepared VALUES (?, ?, ?, ?, ?, ?, ?)")) {
        is(7, insert.getParameterMetaData().getParameterCount(), "parameters");
        insert.setLong(1, 1);
        insert.setString(2, "it's ?");
        insert.setBigDecimal(3, new BigDecimal("12.34"));
        insert.setDate(4, Date.valueOf("2024-02-29"));
        insert.setTimestamp(5, Timestamp.valueOf("2024-02-29 12:00:00"));
        insert.setBoolean(6, true);
        insert.setDouble(7, 0.5);
        is(1, insert.executeUpdate(), "rows inserted");
        insert.setLong(1, 2);
        insert.setNull(2, Types.VARCHAR);
        is(1, insert.executeUpdate(), "rows inserted again");
      }
      try (PreparedStatement select =
          connection.prepareStatement(
              "SELECT id, name, price FROM jdbc_prepared WHERE id >= ? AND '?' <> 'x' ORDER BY id")) {
        is(3, select.getMetaData().getColumnCount(), "columns before it runs");
        select.setLong(1, 1);
        is(
            List.of(
                Arrays.asList(1L, "it's ?", new BigDecimal("12.34")),
                Arrays.asList(2L, null, new BigDecimal("12.34"))),
            rows(select.executeQuery(), "id", "name", "price"),
            "all rows");
        select.setLong(1, 2);
        is(List.of(List.of(2L)), rows(select.executeQuery(), "id"), "bound again");
      }
      try (PreparedStatement untyped = connection.prepareStatement("SELECT ? AS v")) {
        untyped.setString(1, "text");
        is(List.of(List.of("text")), rows(untyped.executeQuery(), "v"), "a parameter of no type");
      }
      try (PreparedStatement dates =
          connection.prepareStatement("SELECT id FROM jdbc_prepared WHERE day = ? AND at < ? AND name LIKE ?")) {
        dates.setDate(1, Date.valueOf("2024-02-29"));
        dates.setTimestamp(2, Timestamp.valueOf("2025-01-01 00:00:00"));
        dates.setString(3, "it%");
        is(List.of(List.of(1L)), rows(dates.executeQuery(), "id"), "dates");
      }
      statement.execute("DROP TABLE jdbc_prepared");
    }
  }

  private static void updates() throws Exception {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      is(false, statement.execute("CREATE TABLE jdbc_updates (id bigint)"), "CREATE gives no rows");
      is(0, statement.getUpdateCount(), "CREATE counts nothing");
      is(3, statement.executeUpdate("INSERT INTO jdbc_updates VALUES (1), (2), (3)"), "inserted");
      is(true, statement.execute("SELECT * FROM jdbc_updates"), "SELECT gives rows");
      is(true, statement.execute("SHOW TABLES"), "SHOW gives rows");
      is(true, statement.execute("EXPLAIN SELECT 1"), "EXPLAIN gives rows");
      is(false, statement.execute("SET statement_timeout = '62s'"), "SET gives no rows");
      is(
          List.of(List.of("62s")),
          rows(statement.executeQuery("SHOW statement_timeout"), "statement_timeout"),
          "the session keeps what SET changed");
      statement.execute("DROP TABLE jdbc_updates");
    }
  }

  private static void batch() throws Exception {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.execute("CREATE TABLE jdbc_batch (id bigint, name text)");
      try (PreparedStatement insert =
          connection.prepareStatement("INSERT INTO jdbc_batch (id, name) VALUES (?, ?)")) {
        for (int i = 0; i < 100; i++) {
          insert.setLong(1, i);
          insert.setString(2, "n" + i);
          insert.addBatch();
        }
        long total = 0;
        for (int count : insert.executeBatch()) {
          total += count;
        }
        is(100L, total, "rows of the batch");
      }
      is(
          List.of(List.of(100L, "n99")),
          rows(
              statement.executeQuery("SELECT count(*) AS n, max_by AS m FROM (SELECT count(*) OVER () AS c, * FROM jdbc_batch) AS q, (SELECT name AS max_by FROM jdbc_batch ORDER BY id DESC LIMIT 1) AS l GROUP BY max_by"),
              "n", "m"),
          "rows in the table");
      statement.execute("DROP TABLE jdbc_batch");
    }
  }

  private static void errors() throws Exception {
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      String missing = chain(refused(() -> statement.executeQuery("SELECT * FROM nowhere"), "no table"));
      holds(missing.contains("nowhere") && missing.contains("42P01"), missing);
      String syntax = chain(refused(() -> statement.executeQuery("SELEC 1"), "no SQL"));
      holds(syntax.contains("42601"), syntax);
      String running =
          chain(
              refused(
                  () -> rows(statement.executeQuery("SELECT 1 / (v - 1) AS q FROM (VALUES (1)) AS t(v)"), "q"),
                  "a division by zero"));
      holds(running.contains("22012"), running);
      is(List.of(List.of(1)), rows(statement.executeQuery("SELECT 1 AS one"), "one"), "the next statement");
    }
  }

  private static void catalog() throws Exception {
    Properties properties = new Properties();
    properties.put("user", "admin");
    properties.put("password", PASSWORD);
    properties.put("catalog", "lake");
    Connection connection = DriverManager.getConnection(url(), properties);
    Statement statement = connection.createStatement();
    is(
        List.of(List.of("lake")),
        rows(statement.executeQuery("SELECT current_catalog AS c"), "c"),
        "catalog of the session");
    connection.setCatalog("lake");
    try {
      connection.close();
    } catch (SQLException twice) {
      // The driver of this version closes a session with a catalog twice, the second time without a channel.
      holds(chain(twice).contains("Channel shutdown"), chain(twice));
    }
    properties.put("catalog", "nowhere");
    refused(() -> DriverManager.getConnection(url(), properties).close(), "an unknown catalog");
  }

  private static void tokens() throws Exception {
    String token;
    try (Connection connection = connect(); Statement statement = connection.createStatement();
        ResultSet made = statement.executeQuery("CREATE TOKEN jdbc_token")) {
      holds(made.next(), "a token");
      token = null;
      for (int i = 1; i <= made.getMetaData().getColumnCount(); i++) {
        String value = made.getString(i);
        if (value != null && value.length() >= 30 && (token == null || value.length() > token.length())) {
          token = value;
        }
      }
      holds(token != null, "the token's text");
    }
    Properties properties = new Properties();
    properties.put("token", token);
    try (Connection connection = DriverManager.getConnection(url(), properties);
        Statement statement = connection.createStatement()) {
      statement.execute("SET statement_timeout = '61s'");
      is(
          List.of(List.of("61s")),
          rows(statement.executeQuery("SHOW statement_timeout"), "statement_timeout"),
          "the session of a token");
    }
    try (Connection connection = connect("admin", token); Statement statement = connection.createStatement()) {
      is(List.of(List.of("admin")), rows(statement.executeQuery("SELECT current_user AS u"), "u"), "user");
    }
    properties.put("token", token + "x");
    refused(
        () -> {
          try (Connection connection = DriverManager.getConnection(url(), properties);
              Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT 1");
          }
        },
        "a wrong token");
    try (Connection connection = connect(); Statement statement = connection.createStatement()) {
      statement.execute("DROP TOKEN jdbc_token");
    }
  }

  private static void large() throws Exception {
    try (Connection connection = connect();
        Statement statement = connection.createStatement();
        ResultSet result =
            statement.executeQuery(
                "SELECT v AS id, 'row number ' || v AS text FROM generate_series(1, 300000) AS t(v)")) {
      long count = 0;
      long sum = 0;
      while (result.next()) {
        count++;
        sum += result.getLong(1);
        if (count % 50_000 == 0) {
          is("row number " + result.getLong(1), result.getString(2), "text");
        }
      }
      is(300_000L, count, "rows");
      is(300_000L * 300_001 / 2, sum, "sum");
    }
  }

  private static final String ENDLESS =
      "SELECT count(*) FROM generate_series(1, 1000000000) AS a(x), generate_series(1, 1000) AS b(y) WHERE x + y = -1";

  private static int running(Statement statement) throws SQLException {
    return rows(
            statement.executeQuery(
                "SELECT query_id FROM system.queries WHERE state IN ('RUNNING', 'PLANNING', 'QUEUED') AND statement LIKE '%1000000000%' AND statement NOT LIKE '%system.queries%'"),
            "query_id")
        .size();
  }

  private static void cancel() throws Exception {
    try (Connection connection = connect();
        Statement statement = connection.createStatement();
        Connection second = connect();
        Statement watcher = second.createStatement()) {
      Thread canceller =
          new Thread(
              () -> {
                try {
                  while (running(watcher) == 0) {
                    Thread.sleep(20);
                  }
                  statement.cancel();
                } catch (Exception failure) {
                  failure.printStackTrace(System.out);
                  System.exit(1);
                }
              });
      canceller.start();
      long started = System.nanoTime();
      refused(() -> rows(statement.executeQuery(ENDLESS), "count(*)"), "a cancelled query");
      canceller.join();
      holds(System.nanoTime() - started < 60_000_000_000L, "cancelled in time");
      long deadline = System.nanoTime() + 10_000_000_000L;
      while (running(watcher) > 0) {
        holds(System.nanoTime() < deadline, "a dropped stream ends the query");
        Thread.sleep(50);
      }
    }
  }

  private static void many() throws Exception {
    try (Connection connection = connect()) {
      for (int i = 0; i < 200; i++) {
        try (PreparedStatement statement = connection.prepareStatement("SELECT ? + 1 AS n")) {
          statement.setLong(1, i);
          is(List.of(List.of(i + 1)), rows(statement.executeQuery(), "n"), "n");
        }
      }
    }
  }
}
