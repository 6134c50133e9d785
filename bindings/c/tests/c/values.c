/* Every value as docs/format/json.md writes it, the members of an answer, and the versions. */
#include "check.h"

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char *url = url_in(argv[1], "values.db");
    engine_handle h = open_or_fail(url);
    free(url);

    CHECK(engine_abi_version() == ENGINE_ABI_VERSION);
    CHECK(engine_version() != NULL && strchr(engine_version(), '.') != NULL);
    CHECK(engine_last_error(0) == NULL);
    CHECK(engine_last_error(h) == NULL);

    IS(engine_query(h, "SELECT 1 AS one, 1.0, NULL, 'text', x'00ff', 0.1"),
       "{\"columns\":[\"one\",\"1.0\",\"NULL\",\"'text'\",\"x'00ff'\",\"0.1\"],"
       "\"types\":[null,null,null,null,null,null],"
       "\"rows\":[[1,{\"real\":1.0},null,\"text\",{\"blob\":\"AP8=\"},0.1]],"
       "\"changes\":0,\"last_insert_rowid\":0}");
    HOLDS(engine_query(h, "SELECT 9007199254740991, 9007199254740992, 9223372036854775807, -9223372036854775808"),
          "[[9007199254740991,{\"int\":\"9007199254740992\"},{\"int\":\"9223372036854775807\"},"
          "{\"int\":\"-9223372036854775808\"}]]");
    HOLDS(engine_query(h, "SELECT 9e999, -9e999, 1e300, 0.1+0.2, 5e-324"),
          "[[{\"real\":\"inf\"},{\"real\":\"-inf\"},{\"real\":1e300},0.30000000000000004,5e-324]]");
    HOLDS(engine_query(h, "SELECT 'a' || char(0) || 'b', char(34, 92, 10, 1), 'caf\xc3\xa9 \xf0\x9f\xa6\x89'"),
          "[[\"a\\u0000b\",\"\\\"\\\\\\n\\u0001\",\"caf\xc3\xa9 \xf0\x9f\xa6\x89\"]]");
    HOLDS(engine_query(h, "SELECT length(CAST('a' || char(0) || 'b' AS BLOB))"), "[[3]]");

    IS(engine_query(h, "CREATE TABLE t(id INTEGER PRIMARY KEY, name VARCHAR(9), x REAL, b BLOB)"),
       "{\"columns\":[],\"types\":[],\"rows\":[],\"changes\":0,\"last_insert_rowid\":0}");
    IS(engine_query(h, "INSERT INTO t(name, x, b) VALUES ('a', 1, x''), ('b', 2.5, NULL)"),
       "{\"columns\":[],\"types\":[],\"rows\":[],\"changes\":2,\"last_insert_rowid\":2}");
    HOLDS(engine_query(h, "SELECT id, name, x, b, id + 1 AS next FROM t ORDER BY id"),
          "{\"columns\":[\"id\",\"name\",\"x\",\"b\",\"next\"],"
          "\"types\":[\"INTEGER\",\"VARCHAR(9)\",\"REAL\",\"BLOB\",null],"
          "\"rows\":[[1,\"a\",{\"real\":1.0},{\"blob\":\"\"},2],[2,\"b\",2.5,null,3]],");
    HOLDS(engine_query(h, "SELECT * FROM t WHERE 0"), "\"types\":[\"INTEGER\",\"VARCHAR(9)\",\"REAL\",\"BLOB\"],\"rows\":[]");
    HOLDS(engine_query(h, "INSERT INTO t VALUES (9223372036854775807, 'max', 0, 0)"),
          "\"changes\":1,\"last_insert_rowid\":{\"int\":\"9223372036854775807\"}}");

    /* Several statements: the last one's result; the first error stops the rest. */
    HOLDS(engine_query(h, "DELETE FROM t; INSERT INTO t(name) VALUES ('z'); SELECT count(*) AS n FROM t;"),
          "{\"columns\":[\"n\"],\"types\":[null],\"rows\":[[1]]");
    HOLDS(engine_query(h, "SELECT 1; UPDATE t SET name = name || '!' -- the end\n ; "), "\"rows\":[],\"changes\":1");
    REFUSED(engine_query(h, "INSERT INTO t(name) VALUES ('y'); SELECT * FROM nowhere; DELETE FROM t"), ERROR);
    CHECK(one_integer(h, "SELECT count(*) FROM t") == 2);
    WORKS(engine_query(h, ""));
    WORKS(engine_query(h, " ; -- nothing\n"));

    /* Errors: code, extended code, message. */
    IS(engine_query(h, "SELECT * FROM nowhere"),
       "{\"error\":{\"code\":1,\"extended_code\":1,\"message\":\"no such table: nowhere\"}}");
    IS(engine_last_error(h), "no such table: nowhere");
    WORKS(engine_query(h, "CREATE UNIQUE INDEX names ON t(name)"));
    CHECK(engine_last_error(h) == NULL);
    IS(engine_query(h, "INSERT INTO t(name) VALUES ('y')"),
       "{\"error\":{\"code\":19,\"extended_code\":2067,\"message\":\"UNIQUE constraint failed: t.name\"}}");

    /* Text that JSON cannot carry is an error that names the column, and its bytes can still be read. */
    HOLDS(engine_query(h, "SELECT CAST(x'ff41' AS TEXT) AS broken"), "{\"error\":{\"code\":20,");
    HOLDS(engine_last_error(h), "broken");
    HOLDS(engine_query(h, "SELECT CAST(CAST(x'ff41' AS TEXT) AS BLOB)"), "[[{\"blob\":\"/0E=\"}]]");

    engine_close(h);
    CHECK(engine_last_error(0) == NULL);
    return 0;
}
