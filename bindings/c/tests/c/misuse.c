/* What a caller may get wrong: each is an error that says so, none a crash. */
#include "check.h"

int main(int argc, char **argv)
{
    CHECK(argc == 2);

    /* Opening. */
    CHECK(engine_open(NULL) == 0);
    HOLDS(engine_last_error(0), "NULL");
    CHECK(engine_open("file:///\xff\xfe.db") == 0);
    HOLDS(engine_last_error(0), "UTF-8");
    CHECK(engine_open("gopher://host/x.db") == 0);
    HOLDS(engine_last_error(0), "gopher");
    char *nowhere = url_in(argv[1], "no/such/directory/x.db");
    CHECK(engine_open(nowhere) == 0);
    CHECK(engine_last_error(0) != NULL);
    free(nowhere);
    char *bad_parameter = url_in(argv[1], "p.db?colour=blue");
    CHECK(engine_open(bad_parameter) == 0);
    HOLDS(engine_last_error(0), "colour");
    free(bad_parameter);

    char *url = url_in(argv[1], "misuse.db");
    engine_handle h = open_or_fail(url);
    CHECK(engine_last_error(0) == NULL);

    /* Handles never returned. */
    engine_handle wrong[] = { 0, 1, h - 1, h + 1, h + ((engine_handle)1 << 20), (engine_handle)&h, (engine_handle)-1 };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        REFUSED(engine_query(wrong[i], "SELECT 1"), MISUSE);
        HOLDS(engine_last_error(0), "not an open handle");
        REFUSED(engine_query(wrong[i], NULL), MISUSE);
        if (wrong[i] != 0) HOLDS(engine_last_error(wrong[i]), "not an open handle");
        engine_close(wrong[i]);
    }
    engine_close(0);
    CHECK(engine_last_error(0) == NULL);

    /* SQL. */
    WORKS(engine_query(h, "CREATE TABLE t(a)"));
    REFUSED(engine_query(h, NULL), MISUSE);
    HOLDS(engine_last_error(h), "sql is NULL");
    REFUSED(engine_query(h, "SELECT '\xc3\x28'"), MISUSE);
    HOLDS(engine_last_error(h), "not UTF-8");
    REFUSED(engine_query(h, "SELEKT 1"), ERROR);
    HOLDS(engine_last_error(h), "SELEKT");
    REFUSED(engine_query(h, "SELECT 'open end"), ERROR);
    WORKS(engine_query(h, "SELECT 1"));
    CHECK(engine_last_error(h) == NULL);

    /* An answer outlives engine_last_error and calls on other handles. */
    engine_handle other = open_or_fail(url);
    const char *answer = engine_query(h, "SELECT 'kept'");
    CHECK(engine_last_error(h) == NULL);
    WORKS(engine_query(other, "SELECT 2"));
    REFUSED(engine_query(1, "SELECT 2"), MISUSE);
    HOLDS(answer, "kept");
    engine_close(other);
    HOLDS(answer, "kept");

    /* Use after close, double close, and the number is not used again. */
    engine_close(h);
    CHECK(engine_last_error(0) == NULL);
    REFUSED(engine_query(h, "SELECT 1"), MISUSE);
    engine_close(h);
    HOLDS(engine_last_error(0), "not an open handle");
    engine_handle again = open_or_fail(url);
    CHECK(again != h && again != 0);
    REFUSED(engine_query(h, "SELECT 1"), MISUSE);
    WORKS(engine_query(again, "SELECT 1"));

    /* The process ends with a handle open: no crash, and the next program finds the file well. */
    WORKS(engine_query(again, "BEGIN; INSERT INTO t VALUES (1)"));
    free(url);
    return 0;
}
