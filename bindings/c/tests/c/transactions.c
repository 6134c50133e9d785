/* A handle is one connection: transactions span calls, and handles of one URL share one database. */
#include "check.h"

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char *url = url_in(argv[1], "transactions.db");
    engine_handle a = open_or_fail(url), b = open_or_fail(url);

    WORKS(engine_query(a, "CREATE TABLE t(n INTEGER PRIMARY KEY)"));
    WORKS(engine_query(a, "BEGIN"));
    WORKS(engine_query(a, "INSERT INTO t VALUES (1)"));
    CHECK(one_integer(a, "SELECT count(*) FROM t") == 1);
    CHECK(one_integer(b, "SELECT count(*) FROM t") == 0);
    WORKS(engine_query(a, "COMMIT"));
    CHECK(one_integer(b, "SELECT count(*) FROM t") == 1);

    WORKS(engine_query(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES (2)"));
    WORKS(engine_query(b, "PRAGMA busy_timeout = 20"));
    REFUSED(engine_query(b, "INSERT INTO t VALUES (3)"), BUSY);
    WORKS(engine_query(a, "ROLLBACK"));
    WORKS(engine_query(b, "INSERT INTO t VALUES (3)"));
    CHECK(one_integer(a, "SELECT sum(n) FROM t") == 4);

    /* An error inside a transaction leaves it open. */
    WORKS(engine_query(a, "BEGIN; INSERT INTO t VALUES (4)"));
    REFUSED(engine_query(a, "INSERT INTO t VALUES (1)"), CONSTRAINT);
    WORKS(engine_query(a, "SAVEPOINT s; INSERT INTO t VALUES (5); ROLLBACK TO s; COMMIT"));
    CHECK(one_integer(b, "SELECT sum(n) FROM t") == 8);
    REFUSED(engine_query(a, "COMMIT"), ERROR);

    /* A snapshot does not move while its transaction reads. */
    WORKS(engine_query(b, "BEGIN; SELECT * FROM t"));
    WORKS(engine_query(a, "INSERT INTO t VALUES (100)"));
    CHECK(one_integer(b, "SELECT sum(n) FROM t") == 8);
    REFUSED(engine_query(b, "INSERT INTO t VALUES (6)"), BUSY);
    WORKS(engine_query(b, "ROLLBACK"));
    CHECK(one_integer(b, "SELECT sum(n) FROM t") == 108);

    /* Closing rolls back, and gives the writer's place to the next. */
    WORKS(engine_query(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES (7)"));
    engine_close(a);
    WORKS(engine_query(b, "INSERT INTO t VALUES (8)"));
    CHECK(one_integer(b, "SELECT sum(n) FROM t") == 116);
    engine_close(b);

    /* Everything is there after the last handle was closed. */
    a = open_or_fail(url);
    CHECK(one_integer(a, "SELECT sum(n) FROM t") == 116);
    HOLDS(engine_query(a, "PRAGMA integrity_check"), "\"ok\"");
    engine_close(a);
    free(url);
    return 0;
}
