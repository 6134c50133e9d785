/* Answers and statements of megabytes, and many handles. */
#include "check.h"

enum { ROWS = 20000, BYTES = 3000000, HANDLES = 64 };

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char *url = url_in(argv[1], "large.db");
    engine_handle h = open_or_fail(url);

    WORKS(engine_query(h, "CREATE TABLE t(n INTEGER PRIMARY KEY, text TEXT)"));
    char sql[200];
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %d) "
             "INSERT INTO t SELECT n, 'row ' || n FROM c", ROWS);
    WORKS(engine_query(h, sql));
    const char *answer = engine_query(h, "SELECT * FROM t ORDER BY n");
    WORKS(answer);
    int rows = 0;
    for (const char *at = answer; (at = strstr(at, ",\"row ")) != NULL; at++) {
        rows++;
        CHECK(atoi(at + 6) == rows);
    }
    CHECK(rows == ROWS);

    /* One long text in, the same one out. */
    char *statement = malloc(BYTES + 100);
    CHECK(statement != NULL);
    int length = snprintf(statement, 100, "INSERT INTO t VALUES (0, '");
    memset(statement + length, 'x', BYTES);
    strcpy(statement + length + BYTES, "')");
    WORKS(engine_query(h, statement));
    CHECK(one_integer(h, "SELECT length(text) FROM t WHERE n = 0") == BYTES);
    answer = engine_query(h, "SELECT text FROM t WHERE n = 0");
    statement[length + BYTES] = 0;
    CHECK(strlen(answer) > BYTES && strstr(answer, statement + length) != NULL);
    free(statement);
    HOLDS(engine_query(h, "SELECT zeroblob(3)"), "{\"blob\":\"AAAA\"}");
    CHECK(strlen(engine_query(h, "SELECT zeroblob(300000)")) > 400000);

    engine_handle many[HANDLES];
    for (int i = 0; i < HANDLES; i++) many[i] = open_or_fail(url);
    for (int i = 0; i < HANDLES; i++) CHECK(one_integer(many[i], "SELECT count(*) FROM t") == ROWS + 1);
    for (int i = HANDLES; i-- > 0;) engine_close(many[i]);
    engine_close(h);
    free(url);
    return 0;
}
