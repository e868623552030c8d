import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/** Runs every check, says what came of each, and ends with 1 if one failed. */
final class Checks {
    interface Check {
        void run() throws Exception;
    }

    private final List<String> wanted;
    private int passed;
    private int failed;

    Checks(String[] wanted) {
        this.wanted = Arrays.asList(wanted);
    }

    void check(String name, Check check) {
        if (!wanted.isEmpty() && !wanted.contains(name)) {
            return;
        }
        long started = System.nanoTime();
        String verdict = "ok";
        try {
            check.run();
            passed++;
        } catch (Throwable error) {
            failed++;
            verdict = "FAILED";
            error.printStackTrace(System.out);
        }
        System.out.printf("%s ... %s (%.2f s)%n", name, verdict, (System.nanoTime() - started) / 1e9);
    }

    int finish() {
        System.out.printf("%d passed, %d failed%n", passed, failed);
        return failed == 0 && passed > 0 ? 0 : 1;
    }

    static void equal(Object actual, Object expected) {
        if (!Objects.deepEquals(actual, expected)) {
            throw new AssertionError("\n  actual:   " + show(actual) + "\n  expected: " + show(expected));
        }
    }

    private static String show(Object value) {
        return value instanceof Object[] array ? Arrays.deepToString(array)
                : value instanceof byte[] bytes ? Arrays.toString(bytes) : String.valueOf(value);
    }
}
