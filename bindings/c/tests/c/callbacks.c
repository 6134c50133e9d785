/* Functions, aggregates, hooks, backup, serialize: what C implements for SQL, on which thread, and when it is let go. */
#include <pthread.h>

#include "pack.h"

static uint8_t out[65536], place[4096];
static int released;

static void release(void *context)
{
    CHECK(context == &released);
    released++;
}

static void add(void *context, engine_call call, const uint8_t *arguments, size_t length)
{
    block b;
    (void)context;
    CHECK(u32_at(arguments, 12) == 2 && length == (size_t)i64_at(arguments, 64));
    if (tag_at(arguments, 0, 0) == ENGINE_NULL) return;
    if (tag_at(arguments, 0, 1) == ENGINE_TEXT_ASCII) {
        CODE(engine_call_error(call, 0, "not a number", 12), ENGINE_OK);
        return;
    }
    block_begin(&b, 1);
    block_integer(&b, integer_at(arguments, 0, 0) + integer_at(arguments, 0, 1));
    CODE(engine_call_result(call + 1, b.bytes, b.length), MISUSE);
    CODE(engine_call_result(call, b.bytes, 7), MISUSE);
    CODE(engine_call_result(call, b.bytes, b.length), ENGINE_OK);
}

static void constraint(void *context, engine_call call, const uint8_t *arguments, size_t length)
{
    (void)arguments;
    (void)length;
    CODE(engine_call_error(call, 275, (const char *)context, strlen(context)), ENGINE_OK);
}

static engine_handle nested;

static void calls_its_own_connection(void *context, engine_call call, const uint8_t *arguments, size_t length)
{
    (void)context;
    (void)call;
    (void)arguments;
    (void)length;
    REFUSED(engine_query(nested, "SELECT 1"), MISUSE);
    HOLDS(engine_last_error(0), "its own connection");
    engine_close(nested);
    HOLDS(engine_last_error(0), "callback");
    CODE(engine_set_busy_timeout(nested, 1), MISUSE);
}

static void functions(engine_handle h)
{
    released = 0;
    CODE(engine_create_function(h, "add2", 2, ENGINE_FUNCTION_DETERMINISTIC, add, &released, release, place, sizeof place),
        ENGINE_OK);
    CHECK(one_integer(h, "SELECT add2(40, 2)") == 42);
    HOLDS(engine_query(h, "SELECT add2(NULL, 2)"), "[[null]]");
    HOLDS(engine_query(h, "SELECT add2(1, 'x')"), "not a number");
    WORKS(engine_query(h, "CREATE TABLE f(a); CREATE INDEX fi ON f(add2(a, 1)); INSERT INTO f VALUES (1), (2)"));
    CHECK(one_integer(h, "SELECT sum(add2(a, 0)) FROM f") == 3 && released == 0);
    /* Without a place, and replaced by the same name. */
    CODE(engine_create_function(h, "add2", 2, ENGINE_FUNCTION_DETERMINISTIC, add, &released, release, NULL, 0), ENGINE_OK);
    CHECK(released == 1 && one_integer(h, "SELECT add2(40, 3)") == 43);
    static char why[] = "said no";
    CODE(engine_create_function(h, "refuse", 0, 0, constraint, why, NULL, NULL, 0), ENGINE_OK);
    REFUSED(engine_query(h, "SELECT refuse()"), CONSTRAINT);
    HOLDS(engine_last_error(h), "said no");
    CODE(engine_remove_function(h, "refuse", 0), ENGINE_OK);
    REFUSED(engine_query(h, "SELECT refuse()"), ERROR);
    CODE(engine_create_function(h, "x", 1, 0, NULL, &released, release, NULL, 0), MISUSE);
    CHECK(released == 2);
    CODE(engine_create_function(12345, "x", 1, 0, add, &released, release, NULL, 0), MISUSE);
    CHECK(released == 3);
    CODE(engine_create_function(h, "x", 1, 1 << 20, add, NULL, NULL, NULL, 0), MISUSE);
    CODE(engine_call_result(1, NULL, 0), MISUSE);
    nested = h;
    CODE(engine_create_function(h, "nested", 0, 0, calls_its_own_connection, NULL, NULL, NULL, 0), ENGINE_OK);
    WORKS(engine_query(h, "SELECT nested()"));
    WORKS(engine_query(h, "SELECT 1"));
    WORKS(engine_query(h, "DROP TABLE f"));
}

/* Sums by group number, in a small table. */
static struct { size_t group; long long sum; } groups[64];
static int groups_open;

static void sum_step(void *context, size_t group, engine_call call, const uint8_t *arguments, size_t length)
{
    (void)context;
    (void)length;
    int slot = -1;
    for (int i = 0; i < 64; i++) {
        if (groups[i].group == group) slot = i;
    }
    for (int i = 0; slot < 0 && i < 64; i++) {
        if (groups[i].group == 0) {
            slot = i;
            groups[i].group = group;
            groups[i].sum = 0;
            groups_open++;
        }
    }
    CHECK(slot >= 0);
    if (tag_at(arguments, 0, 0) == ENGINE_TEXT_ASCII) CODE(engine_call_error(call, 0, "text", 4), ENGINE_OK);
    else groups[slot].sum += integer_at(arguments, 0, 0);
}

static void sum_last(void *context, size_t group, engine_call call)
{
    block b;
    (void)context;
    block_begin(&b, 1);
    for (int i = 0; i < 64; i++) {
        if (groups[i].group != group) continue;
        block_integer(&b, groups[i].sum);
        groups[i].group = 0;
        groups_open--;
    }
    if (b.cells == 0) block_integer(&b, -1);
    CODE(engine_call_result(call, b.bytes, b.length), ENGINE_OK);
}

static void aggregates(engine_handle h)
{
    released = 0;
    CODE(engine_create_aggregate(h, "total2", 1, 0, sum_step, sum_last, &released, release, place, sizeof place), ENGINE_OK);
    HOLDS(engine_query(h,
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 10) SELECT n % 2, total2(n) FROM c GROUP BY n % 2"),
        "[[0,30],[1,25]]");
    CHECK(one_integer(h, "SELECT total2(1) WHERE 0") == -1);
    HOLDS(engine_query(h, "SELECT total2(x) FROM (SELECT 1 AS x UNION ALL SELECT 'x')"), "text");
    CHECK(groups_open == 0);
    CODE(engine_create_aggregate(h, "x", 1, 0, sum_step, NULL, NULL, NULL, NULL, 0), MISUSE);
    CODE(engine_remove_function(h, "total2", 1), ENGINE_OK);
    CHECK(released == 1);
}

static struct { int updates, commits, rollbacks, refuse; int64_t rowid; int32_t action; char table[16]; } heard;

static void on_update(void *context, int32_t action, const char *schema, const char *table, int64_t rowid)
{
    (void)context;
    IS(schema, "main");
    heard.updates++;
    heard.rowid = rowid;
    heard.action = action;
    snprintf(heard.table, sizeof heard.table, "%s", table);
}

static int32_t on_commit(void *context)
{
    (void)context;
    heard.commits++;
    return heard.refuse;
}

static void on_rollback(void *context)
{
    (void)context;
    heard.rollbacks++;
}

static void *query_elsewhere(void *handle)
{
    return (void *)engine_query((engine_handle)handle, "INSERT INTO h VALUES (99)");
}

static void hooks(const char *url)
{
    engine_handle h = open_or_fail(url);
    released = 0;
    WORKS(engine_query(h, "CREATE TABLE h(a)"));
    CODE(engine_set_update_hook(h, 0, on_update, &released, release), ENGINE_OK);
    CODE(engine_set_commit_hook(h, 0, on_commit, &released, release), ENGINE_OK);
    CODE(engine_set_rollback_hook(h, 0, on_rollback, &released, release), ENGINE_OK);
    WORKS(engine_query(h, "INSERT INTO h VALUES (1), (2)"));
    CHECK(heard.updates == 2 && heard.rowid == 2 && heard.action == 18 && heard.commits == 1 && heard.rollbacks == 0);
    IS(heard.table, "h");
    WORKS(engine_query(h, "DELETE FROM h WHERE a = 1"));
    CHECK(heard.action == 9 && heard.rowid == 1);
    heard.refuse = 1;
    REFUSED(engine_query(h, "UPDATE h SET a = 3"), CONSTRAINT);
    CHECK(heard.action == 23 && heard.rollbacks == 1);
    heard.refuse = 0;
    /* Only this thread may call them: others are refused, and so are requests. */
    pthread_t thread;
    void *answer;
    CHECK(pthread_create(&thread, NULL, query_elsewhere, (void *)h) == 0);
    CHECK(pthread_join(thread, &answer) == 0);
    int before = heard.updates;
    CODE(engine_async_start(h, NULL, NULL), ENGINE_OK);
    CHECK(engine_async_query(h, "SELECT 1", 8, NULL, 0, 0, 0, 0, 0) == 0);
    HOLDS(engine_last_error(h), "ENGINE_ANY_THREAD");
    CHECK(one_integer(h, "SELECT count(*) FROM h WHERE a = 99") == 0);
    CODE(engine_set_update_hook(h, 0, NULL, NULL, NULL), ENGINE_OK);
    CHECK(released == 1);
    WORKS(engine_query(h, "INSERT INTO h VALUES (4)"));
    CHECK(heard.updates == before);
    engine_close(h);
    CHECK(released == 3);
}

static void functions_in_requests(const char *url)
{
    engine_handle h = open_or_fail(url);
    CODE(engine_async_start(h, NULL, NULL), ENGINE_OK);
    CODE(engine_create_function(h, "add2", 2, 0, add, NULL, NULL, NULL, 0), ENGINE_OK);
    engine_request r = engine_async_query(h, "SELECT add2(1, 2)", 17, NULL, 0, 0, 0, 0, 0);
    CODE(engine_async_wait(h, r, -1), ENGINE_OK);
    CODE(engine_async_take(h, r, out, sizeof out), MISUSE);
    HOLDS(message_of(out), "another thread");
    CODE(engine_create_function(h, "add2", 2, ENGINE_ANY_THREAD, add, NULL, NULL, NULL, 0), ENGINE_OK);
    r = engine_async_query(h, "SELECT add2(1, 2)", 17, NULL, 0, 0, 0, 0, 0);
    CODE(engine_async_wait(h, r, -1), ENGINE_OK);
    CODE(engine_async_take(h, r, out, sizeof out), ENGINE_DONE);
    CHECK(integer_at(out, 0, 0) == 3);
    engine_close(h);
}

static int steps, steps_max;

static int32_t progress(void *context, int32_t left, int32_t pages)
{
    CHECK(context == &steps && left >= 0 && left <= pages);
    return ++steps > steps_max;
}

static void copies(engine_handle h, const char *directory)
{
    char *url = url_in(directory, "copy.db");
    WORKS(engine_query(h,
        "CREATE TABLE c AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) SELECT n, hex(zeroblob(20)) AS x FROM c"));
    engine_handle copy = open_or_fail(url);
    steps_max = 2;
    CODE(engine_backup(h, copy, 5, progress, &steps), INTERRUPT);
    REFUSED(engine_query(copy, "SELECT * FROM c"), ERROR);
    steps = 0;
    steps_max = 1 << 30;
    CODE(engine_backup(h, copy, 5, progress, &steps), ENGINE_OK);
    CHECK(steps > 10 && one_integer(copy, "SELECT sum(n) FROM c") == 12502500);
    CODE(engine_backup(h, h, 5, NULL, NULL), MISUSE);
    CODE(engine_backup(h, copy, 0, NULL, NULL), MISUSE);
    CODE(engine_backup(h, 999, 5, NULL, NULL), MISUSE);
    engine_close(copy);
    free(url);
    url = url_in(directory, "copy2.db");
    CODE(engine_backup_to_url(h, url, strlen(url), -1, NULL, NULL), ENGINE_OK);
    copy = open_or_fail(url);
    CHECK(one_integer(copy, "SELECT count(*) FROM c") == 5000);
    engine_close(copy);
    free(url);

    size_t length = 0;
    uint8_t *image = engine_serialize(h, NULL, &length);
    CHECK(image != NULL && length > 5000 * 40 && image[18] == 1 && image[19] == 1);
    CHECK(engine_serialize(h, "nowhere", &length) == NULL && engine_serialize(h, NULL, NULL) == NULL);
    engine_handle again = engine_deserialize(image, length, 0);
    CHECK(again != 0 && one_integer(again, "SELECT sum(n) FROM c") == 12502500);
    WORKS(engine_query(again, "DELETE FROM c"));
    engine_close(again);
    again = engine_deserialize(image, length, ENGINE_OPEN_READONLY);
    CHECK(one_integer(again, "SELECT count(*) FROM c") == 5000);
    REFUSED(engine_query(again, "DELETE FROM c"), 8);
    engine_close(again);
    memset(image, 'x', 100);
    CHECK(engine_deserialize(image, length, 0) == 0);
    CODE(engine_failure_of(0, NULL), 26);
    engine_batch_free(image, NULL);
    CHECK(one_integer(h, "SELECT count(*) FROM c") == 5000);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char *url = url_in(argv[1], "callbacks.db");
    engine_handle h = open_or_fail(url);
    functions(h);
    aggregates(h);
    copies(h, argv[1]);
    engine_close(h);
    hooks(url);
    functions_in_requests(url);
    free(url);
    return 0;
}
