/* Statements: prepare, bind, execute in batches, step, describe, finalize; and what a caller may get wrong. */
#include "pack.h"

static uint8_t out[65536];

static void texts_of_several_statements(engine_handle h)
{
    const char *sql = "CREATE TABLE t(id INTEGER PRIMARY KEY, name VARCHAR(9), x); INSERT INTO t VALUES(1, 'one', 1.5); -- end";
    size_t tail = 0;
    engine_statement s = engine_prepare(h, sql, strlen(sql), &tail);
    CHECK(s != 0 && sql[tail - 1] == ';');
    CODE(engine_execute(s, NULL, 0, out, sizeof out, 0, 0), ENGINE_DONE);
    CODE(engine_finalize(s), ENGINE_OK);
    sql += tail;
    s = engine_prepare(h, sql, strlen(sql), &tail);
    CODE(engine_step(s), ENGINE_DONE);
    CODE(engine_finalize(s), ENGINE_OK);
    sql += tail;
    CHECK(engine_prepare(h, sql, strlen(sql), &tail) == 0);
    CHECK(engine_failure_of(h, NULL) == ENGINE_OK && tail == strlen(sql));
    engine_failure failure;
    CHECK(engine_prepare(h, "SELECT nothing", 14, NULL) == 0);
    CODE(engine_failure_of(h, &failure), ERROR);
    CHECK(failure.code == ERROR && failure.offset == 7 && failure.message_bytes == strlen(failure.message));
    HOLDS(failure.message, "nothing");
}

static void values_go_in_and_come_out(engine_handle h)
{
    block b;
    engine_statement s = prepare_or_fail(h, "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7");
    block_begin(&b, 7);
    block_integer(&b, INT64_MIN);
    block_text(&b, "text");
    block_text(&b, "gr\xc3\xbcn");
    double real = -0.5;
    uint64_t bits;
    memcpy(&bits, &real, 8);
    block_cell(&b, ENGINE_REAL, 0, 0, bits);
    static const char elsewhere[] = "elsewhere";
    block_cell(&b, ENGINE_TEXT_AT, 0, sizeof elsewhere - 1, (uint64_t)(uintptr_t)elsewhere);
    block_cell(&b, ENGINE_BLOB_AT, 0, 0, 0);
    block_cell(&b, ENGINE_INTEGER_AS_DOUBLE, 7, 0, (memcpy(&bits, &(double){ -42 }, 8), bits));
    CODE(engine_execute(s, b.bytes, b.length, out, sizeof out, 0, 0), ENGINE_DONE);
    CHECK(rows_of(out) == 1 && u32_at(out, 12) == 7 && u32_at(out, 84) == 7);
    CHECK(u32_at(out, 4) == ENGINE_BATCH_WIDE && (engine_statement)i64_at(out, 72) == s);
    CHECK(tag_at(out, 0, 0) == ENGINE_INTEGER && integer_at(out, 0, 0) == INT64_MIN);
    CHECK(tag_at(out, 0, 1) == ENGINE_TEXT_ASCII);
    IS(text_at(out, 0, 1), "text");
    CHECK(tag_at(out, 0, 2) == ENGINE_TEXT);
    IS(text_at(out, 0, 2), "gr\xc3\xbcn");
    CHECK(tag_at(out, 0, 3) == ENGINE_REAL && f64_at(out, payload_at(out, 0, 3)) == -0.5);
    IS(text_at(out, 0, 4), "elsewhere");
    CHECK(tag_at(out, 0, 5) == ENGINE_BLOB && tag_at(out, 0, 6) == ENGINE_INTEGER_AS_DOUBLE);
    CHECK(integer_at(out, 0, 6) == -42);
    HOLDS(engine_sql(s, 1), "'elsewhere'");
    IS(engine_sql(s, 0), "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7");

    CODE(engine_bind_integer(s, 1, 7), ENGINE_OK);
    CODE(engine_bind_real(s, 2, 2.5), ENGINE_OK);
    CODE(engine_bind_text(s, 3, "abc", 2), ENGINE_OK);
    CODE(engine_bind_blob(s, 4, "\0\1", 2), ENGINE_OK);
    CODE(engine_bind_null(s, 5), ENGINE_OK);
    CODE(engine_step(s), ENGINE_ROW);
    CHECK(engine_column_type(s, 0) == ENGINE_INTEGER && engine_column_integer(s, 0) == 7);
    CHECK(engine_column_real(s, 0) == 7.0 && engine_column_real(s, 1) == 2.5 && engine_column_integer(s, 1) == 2);
    size_t length = 0;
    IS((const char *)engine_column_bytes(s, 2, &length), "ab");
    CHECK(length == 2 && engine_column_bytes(s, 4, &length) == NULL && length == 0);
    CHECK(memcmp(engine_column_bytes(s, 3, &length), "\0\1", 3) == 0 && length == 2);
    CHECK(engine_column_type(s, 4) == ENGINE_NULL && engine_column_type(s, 7) == -1);
    CODE(engine_step(s), ENGINE_DONE);
    CHECK(engine_column_type(s, 0) == -1);
    CODE(engine_clear_bindings(s), ENGINE_OK);
    CODE(engine_step(s), ENGINE_ROW);
    CHECK(engine_column_type(s, 0) == ENGINE_NULL);
    CODE(engine_reset(s), ENGINE_OK);
    CODE(engine_finalize(s), ENGINE_OK);
}

static void rows_come_in_batches(engine_handle h)
{
    WORKS(engine_query(h, "CREATE TABLE n(v INTEGER, t TEXT)"));
    WORKS(engine_query(h,
        "WITH RECURSIVE c(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM c WHERE v < 5000) INSERT INTO n SELECT v, 'row ' || v FROM c"));
    engine_statement s = prepare_or_fail(h, "SELECT v, t FROM n ORDER BY v");
    long long next = 1;
    size_t room = 4096;
    int32_t code = engine_execute(s, NULL, 0, out, room, 0, ENGINE_EXECUTE_NAMES);
    IS(text_at(out, 0, 0), "v");
    IS(text_at(out, 0, 1), "t");
    CHECK(u32_at(out, 4) & ENGINE_BATCH_NAMES);
    for (uint32_t row = 1; code == ENGINE_ROW || row < rows_of(out);) {
        for (; row < rows_of(out); row++, next++) {
            char text[32];
            snprintf(text, sizeof text, "row %lld", next);
            CHECK(integer_at(out, row, 0) == next);
            IS(text_at(out, row, 1), text);
        }
        if (code != ENGINE_ROW) break;
        CHECK(u32_at(out, 4) & ENGINE_BATCH_MORE);
        room = 4096 + (size_t)next % 300;
        code = engine_next(s, out, room, next % 3 == 0 ? 17 : 0, 0);
        row = 0;
    }
    CHECK(code == ENGINE_DONE && next == 5001);
    CODE(engine_next(s, out, sizeof out, 0, 0), ENGINE_DONE);
    CHECK(rows_of(out) == 0);

    /* One row, and nothing left open. */
    CODE(engine_execute(s, NULL, 0, out, sizeof out, 1, ENGINE_EXECUTE_RESET), ENGINE_DONE);
    CHECK(rows_of(out) == 1 && engine_statement_property(s, ENGINE_ACTIVE) == 0);
    /* Rows that are not wanted. */
    CODE(engine_execute(s, NULL, 0, out, ENGINE_BATCH_HEADER, 0, ENGINE_EXECUTE_DISCARD), ENGINE_DONE);
    CHECK(rows_of(out) == 0);

    /* No room: the library's memory, which is the caller's when taken. */
    CODE(engine_execute(s, NULL, 0, out, ENGINE_BATCH_HEADER, 0, 0), ENGINE_DONE);
    CHECK(u32_at(out, 4) & ENGINE_BATCH_ELSEWHERE);
    CHECK(rows_of(batch_of(out)) == 5000 && integer_at(out, 4999, 0) == 5000);
    uint8_t *taken = engine_batch_take(s);
    CHECK(taken == batch_of(out) && engine_batch_take(s) == NULL);
    CODE(engine_finalize(s), ENGINE_OK);
    IS(text_at(out, 4999, 1), "row 5000");
    engine_batch_free(taken, NULL);
    engine_batch_free(taken, NULL);
    engine_batch_free(out, NULL);
    engine_batch_free(NULL, NULL);

    /* A row that no 256 KiB hold. */
    s = prepare_or_fail(h, "SELECT zeroblob(1000000), 'x' UNION ALL SELECT 1, 'y'");
    CODE(engine_execute(s, NULL, 0, out, sizeof out, 0, 0), ENGINE_ROW);
    CHECK(u32_at(out, 4) & ENGINE_BATCH_ELSEWHERE);
    CHECK(u32_at(batch_of(out), payload_at(out, 0, 0) + 4) == 1000000);
    CODE(engine_next(s, out, sizeof out, 0, 0), ENGINE_DONE);
    CHECK(rows_of(out) == 1 && integer_at(out, 0, 0) == 1);
    CODE(engine_finalize(s), ENGINE_OK);
}

static void writes_tell_rows_only_when_done(engine_handle h)
{
    WORKS(engine_query(h, "CREATE TABLE w(id INTEGER PRIMARY KEY, t TEXT UNIQUE)"));
    engine_statement s = prepare_or_fail(h,
        "WITH RECURSIVE c(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM c WHERE v < 500) INSERT INTO w SELECT v, 'w' || v FROM c RETURNING id, t");
    long long next = 1;
    int32_t code = engine_execute(s, NULL, 0, out, 2048, 0, 0);
    CHECK(i64_at(out, 32) == 500 && i64_at(out, 40) == 500 && i64_at(out, 48) == 500);
    CHECK(one_integer(h, "SELECT count(*) FROM w") == 500);
    for (;; code = engine_next(s, out, 2048, 0, 0)) {
        for (uint32_t row = 0; row < rows_of(out); row++, next++) CHECK(integer_at(out, row, 0) == next);
        if (code != ENGINE_ROW) break;
    }
    CHECK(code == ENGINE_DONE && next == 501);
    CODE(engine_execute(s, NULL, 0, out, sizeof out, 0, 0), 1555);
    HOLDS(message_of(out), "UNIQUE constraint failed: w.id");
    CHECK(u32_at(out, 28) == 1555);
    CODE(engine_failure_of(s, NULL), 1555);
    WORKS(engine_query(h, "DELETE FROM w"));
    CODE(engine_execute(s, NULL, 0, out, sizeof out, 2, ENGINE_EXECUTE_RESET), ENGINE_DONE);
    CHECK(rows_of(out) == 2 && one_integer(h, "SELECT count(*) FROM w") == 500);
    WORKS(engine_query(h, "DELETE FROM w"));
    for (next = 0; engine_step(s) == ENGINE_ROW;) CHECK(engine_column_integer(s, 0) == ++next);
    CHECK(next == 500);
    CODE(engine_finalize(s), ENGINE_OK);
}

static void properties(engine_handle h)
{
    engine_statement s = prepare_or_fail(h, "SELECT name AS n, 1 + 1 FROM t WHERE id = :id OR x = ?");
    CHECK(engine_statement_property(s, ENGINE_PARAMETERS) == 2 && engine_statement_property(s, ENGINE_COLUMNS) == 2);
    CHECK(engine_statement_property(s, ENGINE_READONLY) == 1 && engine_statement_property(s, ENGINE_EXPLAIN) == 0);
    CHECK(engine_statement_property(s, 99) == -1);
    IS(engine_column_name(s, 0), "n");
    CHECK(engine_column_name(s, 2) == NULL && engine_column_name(s, -1) == NULL);
    IS(engine_column_declared_type(s, 0), "VARCHAR(9)");
    CHECK(engine_column_declared_type(s, 1) == NULL);
    IS(engine_parameter_name(s, 1), ":id");
    CHECK(engine_parameter_name(s, 2) == NULL && engine_parameter_name(s, 0) == NULL);
    CHECK(engine_parameter_index(s, ":id") == 1 && engine_parameter_index(s, "id") == 0);
    CHECK(engine_parameter_index(s, NULL) == -1);
    CODE(engine_describe(s, out, sizeof out), ENGINE_DONE);
    CHECK(rows_of(out) == 4 && integer_at(out, 0, 0) == 1 && integer_at(out, 2, 0) == 2);
    IS(text_at(out, 0, 1), "n");
    IS(text_at(out, 0, 2), "VARCHAR(9)");
    IS(text_at(out, 2, 1), ":id");
    CHECK(tag_at(out, 3, 1) == ENGINE_NULL);
    CODE(engine_finalize(s), ENGINE_OK);
    s = prepare_or_fail(h, "EXPLAIN QUERY PLAN SELECT 1");
    CHECK(engine_statement_property(s, ENGINE_EXPLAIN) == 2);
    CODE(engine_finalize(s), ENGINE_OK);
    engine_status status;
    CODE(engine_status_of(h, &status), ENGINE_OK);
    CHECK(status.in_transaction == 0 && status.statements == 0 && status.busy_timeout_ms == 5000 && status.total_changes > 0);
    WORKS(engine_query(h, "BEGIN"));
    CHECK(engine_in_transaction(h) == 1);
    s = prepare_or_fail(h, "ROLLBACK");
    CODE(engine_execute(s, NULL, 0, out, sizeof out, 0, 0), ENGINE_DONE);
    CHECK(engine_in_transaction(h) == 0 && (u32_at(out, 4) & ENGINE_BATCH_IN_TRANSACTION) == 0);
    /* s is left to engine_close. */
}

static void misuse(engine_handle h)
{
    engine_statement s = prepare_or_fail(h, "SELECT ?1"), gone = prepare_or_fail(h, "SELECT 1");
    engine_token token = engine_token_new();
    block b;
    CODE(engine_finalize(gone), ENGINE_OK);
    CODE(engine_finalize(gone), MISUSE);
    engine_statement wrong[] = { 0, 1, gone, h, token, (engine_statement)-1, (engine_statement)&b };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CODE(engine_execute(wrong[i], NULL, 0, out, sizeof out, 0, 0), MISUSE);
        HOLDS(message_of(out), "not a");
        CODE(engine_next(wrong[i], out, sizeof out, 0, 0), MISUSE);
        CODE(engine_step(wrong[i]), MISUSE);
        CODE(engine_reset(wrong[i]), MISUSE);
        CODE(engine_finalize(wrong[i]), MISUSE);
        CODE(engine_bind_integer(wrong[i], 1, 1), MISUSE);
        CHECK(engine_sql(wrong[i], 0) == NULL && engine_column_bytes(wrong[i], 0, NULL) == NULL);
        CHECK(engine_statement_property(wrong[i], ENGINE_COLUMNS) == -1 && engine_batch_take(wrong[i]) == NULL);
        CHECK(engine_async_execute(wrong[i], NULL, 0, 0, 0, 0, 0) == 0);
    }
    CHECK(engine_prepare(s, "SELECT 1", 8, NULL) == 0 && engine_prepare(h, NULL, 0, NULL) == 0);
    CHECK(engine_prepare(h, "SELECT 1\0", 9, NULL) == 0 && engine_prepare(h, "SELECT '\xff'", 10, NULL) == 0);
    CODE(engine_execute(s, NULL, 0, NULL, 0, 0, 0), MISUSE);
    CODE(engine_execute(s, NULL, 0, out, ENGINE_BATCH_HEADER - 1, 0, 0), MISUSE);
    CODE(engine_execute(s, out, 3, out, sizeof out, 0, 0), MISUSE);
    block_begin(&b, 2);
    block_integer(&b, 1);
    block_integer(&b, 2);
    CODE(engine_execute(s, b.bytes, b.length, out, sizeof out, 0, 0), 25);
    HOLDS(message_of(out), "no parameter 2");
    CODE(engine_bind(s, b.bytes, 20), MISUSE);
    CODE(engine_bind_integer(s, 0, 1), 25);
    CODE(engine_bind_integer(s, -1, 1), MISUSE);
    CODE(engine_bind_text(s, 1, NULL, 1), MISUSE);
    CODE(engine_bind_text(s, 1, "\xff", 1), MISUSE);
    CHECK(engine_async_query(h, "SELECT 1", 8, NULL, 0, 0, 0, 0, 0) == 0);
    HOLDS(engine_last_error(h), "engine_async_start");
    CODE(engine_token_free(token), ENGINE_OK);
    CODE(engine_token_free(token), MISUSE);
    CODE(engine_token_cancel(token), MISUSE);
    CODE(engine_token_free(h), MISUSE);
    CODE(engine_load_extension(h, "/tmp/x.so"), ERROR);
    HOLDS(engine_last_error(h), "/tmp/x.so");
    int argument = -1;
    CODE(engine_file_control(h, NULL, 10, &argument), ENGINE_OK);
    CHECK(argument == 0);
    CODE(engine_file_control(h, NULL, 1, &argument), 12);
    HOLDS(engine_last_error(h), "file control 1");
    CODE(engine_file_control(h, NULL, 35, &argument), ENGINE_OK);
    CHECK(engine_limit(h, 9, -1) == 32766 && engine_limit(h, 9, 10) == 32766 && engine_limit(h, 9, -1) == 10);
    CHECK(engine_limit(h, 12, -1) == -1);
    HOLDS(engine_metrics(h), "\"statements\":");
    HOLDS(engine_url(h), "file://");
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char *url = url_in(argv[1], "statements.db");
    CHECK(engine_open_with(url, strlen(url), ENGINE_OPEN_READWRITE) == 0);
    HOLDS(engine_last_error(0), "statements.db");
    CHECK(engine_open_with(url, strlen(url), 99) == 0);
    engine_handle h = engine_open_with(url, strlen(url), ENGINE_OPEN_READWRITE | ENGINE_OPEN_CREATE);
    CHECK(h != 0);
    texts_of_several_statements(h);
    values_go_in_and_come_out(h);
    rows_come_in_batches(h);
    writes_tell_rows_only_when_done(h);
    properties(h);
    misuse(h);
    engine_handle reader = engine_open_with(url, strlen(url), ENGINE_OPEN_READONLY);
    REFUSED(engine_query(reader, "DELETE FROM t"), 8);
    engine_statement left = prepare_or_fail(h, "SELECT v FROM n");
    CODE(engine_step(left), ENGINE_ROW);
    engine_close(h);
    CODE(engine_step(left), MISUSE);
    CODE(engine_finalize(left), MISUSE);
    engine_close(reader);
    free(url);
    return 0;
}
