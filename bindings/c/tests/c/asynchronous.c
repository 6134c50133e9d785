/* Requests: completions, waiting, streaming, cancelling, closing in flight, and synchronous calls beside them. */
#include <pthread.h>

#include "pack.h"

enum { OUT_BYTES = 65536 };
static const char *endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
static char *url;

typedef struct {
    pthread_mutex_t lock;
    engine_request last;
    long told;
} counter;

static void count(void *context, engine_request request)
{
    counter *c = context;
    pthread_mutex_lock(&c->lock);
    CHECK(request > c->last);
    c->last = request;
    c->told++;
    pthread_mutex_unlock(&c->lock);
}

static long told(counter *c)
{
    pthread_mutex_lock(&c->lock);
    long n = c->told;
    pthread_mutex_unlock(&c->lock);
    return n;
}

static engine_request query(engine_handle h, const char *sql, engine_token token)
{
    engine_request r = engine_async_query(h, sql, strlen(sql), NULL, 0, 0, 0, 0, token);
    if (r == 0) FAIL("%s: %s", sql, engine_last_error(h));
    return r;
}

static int32_t settled(engine_handle h, engine_request r, uint8_t *out)
{
    CODE(engine_async_wait(h, r, -1), ENGINE_OK);
    return engine_async_take(h, r, out, OUT_BYTES);
}

static void completions_and_results(engine_handle h, counter *c, uint8_t *out)
{
    long before = told(c);
    engine_request r = query(h, "CREATE TABLE t(n)", 0);
    CODE(settled(h, r, out), ENGINE_DONE);
    CODE(engine_async_take(h, r, out, OUT_BYTES), MISUSE);
    CODE(engine_async_wait(h, r, 0), MISUSE);
    block b;
    block_begin(&b, 2);
    block_integer(&b, 1);
    block_text(&b, "two");
    const char *insert = "INSERT INTO t VALUES (?1), (?2) RETURNING n";
    r = engine_async_query(h, insert, strlen(insert), b.bytes, b.length, 0, 0, ENGINE_EXECUTE_NAMES, 0);
    memset(&b, 0xee, sizeof b);
    CODE(settled(h, r, out), ENGINE_DONE);
    CHECK(rows_of(out) == 3 && integer_at(out, 1, 0) == 1 && i64_at(out, 32) == 2);
    IS(text_at(out, 0, 0), "n");
    IS(text_at(out, 2, 0), "two");
    r = query(h, "SELECT nothing", 0);
    CODE(settled(h, r, out), ERROR);
    HOLDS(message_of(out), "nothing");
    CHECK(i64_at(out, 32) == 7);
    r = query(h, "-- nothing", 0);
    CODE(settled(h, r, out), ENGINE_DONE);
    const char *script = "INSERT INTO t VALUES (3); DELETE FROM t WHERE n = 3; INSERT INTO t VALUES (4)";
    r = engine_async_script(h, script, strlen(script), 0);
    CODE(settled(h, r, out), ENGINE_DONE);
    CHECK(i64_at(out, 40) == 3);
    /* A result that does not fit is lent. */
    r = query(h, "SELECT zeroblob(100000)", 0);
    CODE(settled(h, r, out), ENGINE_DONE);
    CHECK(u32_at(out, 4) & ENGINE_BATCH_ELSEWHERE);
    engine_batch_free((void *)batch_of(out), NULL);
    r = engine_async_serialize(h, NULL, 0);
    CODE(settled(h, r, out), ENGINE_DONE);
    CHECK(memcmp(text_at(out, 0, 0), "SQLite format 3", 16) == 0);
    if (u32_at(out, 4) & ENGINE_BATCH_ELSEWHERE) engine_batch_free((void *)batch_of(out), NULL);
    while (told(c) < before + 7) { }
    CHECK(engine_async_poll(h) == 0);
}

static void streams(engine_handle h, uint8_t *out)
{
    const char *sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000) SELECT n FROM c";
    engine_request r = engine_async_query(h, sql, strlen(sql), NULL, 0, 0, 100, 0, 0);
    long long next = 1;
    for (int batches = 0;; batches++) {
        int32_t code = settled(h, r, out);
        for (uint32_t row = 0; row < rows_of(out); row++, next++) CHECK(integer_at(out, row, 0) == next);
        if (code == ENGINE_DONE) break;
        CHECK(code == ENGINE_ROW && rows_of(out) == 100);
        engine_statement s = (engine_statement)i64_at(out, 72);
        r = engine_async_next(s, 0, 100, 0, 0);
        CHECK(r != 0);
    }
    CHECK(next == 1001);
    /* Prepared, described, executed, given up half way. */
    r = engine_async_prepare(h, sql, strlen(sql), 0);
    CODE(settled(h, r, out), ENGINE_DONE);
    engine_statement s = (engine_statement)i64_at(out, 72);
    CHECK(s != 0 && rows_of(out) == 1 && i64_at(out, 32) == (int64_t)strlen(sql));
    r = engine_async_execute(s, NULL, 0, 0, 10, 0, 0);
    CODE(settled(h, r, out), ENGINE_ROW);
    CODE(engine_reset(s), ENGINE_OK);
    CODE(engine_finalize(s), ENGINE_OK);
}

static void cancelling(engine_handle h, uint8_t *out)
{
    engine_token token = engine_token_new();
    engine_request r = query(h, endless, token), behind = query(h, "SELECT 1", token), other = query(h, "SELECT 2", 0);
    CODE(engine_async_wait(h, r, 1), ENGINE_PENDING);
    CODE(engine_async_take(h, r, out, OUT_BYTES), ENGINE_PENDING);
    CODE(engine_token_cancel(token), ENGINE_OK);
    CODE(settled(h, r, out), INTERRUPT);
    CODE(settled(h, behind, out), INTERRUPT);
    CODE(settled(h, other, out), ENGINE_DONE);
    CODE(settled(h, query(h, "SELECT 3", token), out), INTERRUPT);
    CODE(engine_token_free(token), ENGINE_OK);
    /* Wherever the request is when it is cancelled. */
    for (int i = 0; i < 50; i++) {
        r = query(h, endless, 0);
        for (volatile int wait = 0; wait < i * 2000; wait++) { }
        CODE(engine_async_cancel(h, r), ENGINE_OK);
        CODE(settled(h, r, out), INTERRUPT);
    }
    CODE(engine_async_cancel(h, 1000000), MISUSE);
    r = query(h, endless, 0);
    while (engine_async_wait(h, r, 1) == ENGINE_PENDING) engine_interrupt(h);
    CODE(settled(h, r, out), INTERRUPT);
    /* A statement that is finalized in flight. */
    r = engine_async_prepare(h, endless, strlen(endless), 0);
    CODE(settled(h, r, out), ENGINE_DONE);
    engine_statement s = (engine_statement)i64_at(out, 72);
    r = engine_async_execute(s, NULL, 0, 0, 0, 0, 0);
    CODE(engine_finalize(s), ENGINE_OK);
    CODE(engine_finalize(s), MISUSE);
    CODE(settled(h, r, out), INTERRUPT);
}

static void synchronous_calls_are_refused_not_stuck(engine_handle h, uint8_t *out)
{
    engine_request r = query(h, endless, 0);
    REFUSED(engine_query(h, "SELECT 1"), MISUSE);
    HOLDS(engine_last_error(h), "asynchronous requests");
    CODE(engine_failure_of(h, NULL), ENGINE_BUSY_ASYNC);
    CHECK(engine_prepare(h, "SELECT 1", 8, NULL) == 0 && engine_in_transaction(h) == 0);
    CODE(engine_async_cancel(h, r), ENGINE_OK);
    CODE(settled(h, r, out), INTERRUPT);
    WORKS(engine_query(h, "SELECT 1"));

    CODE(settled(h, query(h, "BEGIN IMMEDIATE", 0), out), ENGINE_DONE);
    CHECK(u32_at(out, 4) & ENGINE_BATCH_IN_TRANSACTION && engine_in_transaction(h) == 1);
    REFUSED(engine_query(h, "SELECT 1"), MISUSE);
    CODE(engine_failure_of(h, NULL), ENGINE_BUSY_ASYNC);
    /* Another connection of this thread would wait for what only this thread's next request ends. */
    engine_handle other = open_or_fail(url);
    WORKS(engine_query(other, "SELECT count(*) FROM t"));
    REFUSED(engine_query(other, "INSERT INTO t VALUES (5)"), MISUSE);
    CODE(engine_failure_of(other, NULL), ENGINE_BUSY_ASYNC);
    engine_status status;
    CODE(settled(h, query(h, "COMMIT", 0), out), ENGINE_DONE);
    WORKS(engine_query(other, "INSERT INTO t VALUES (5)"));
    CODE(engine_status_of(other, &status), ENGINE_OK);
    CHECK(status.busy_timeout_ms == 5000);
    WORKS(engine_query(h, "SELECT 1"));
    engine_close(other);
}

static void closing_in_flight(uint8_t *out)
{
    counter c = { PTHREAD_MUTEX_INITIALIZER, 0, 0 };
    for (int i = 0; i < 30; i++) {
        c.last = 0;
        engine_handle h = engine_async_open(url, strlen(url), 0, count, &c);
        CHECK(h != 0);
        if (i % 3 == 0) CODE(engine_async_wait(h, 1, -1), ENGINE_OK);
        query(h, "INSERT INTO t VALUES (6)", 0);
        query(h, endless, 0);
        query(h, "SELECT 1", 0);
        for (volatile int wait = 0; wait < i * 3000; wait++) { }
        engine_close(h);
        long n = told(&c);
        engine_close(h);
        CHECK(engine_async_take(h, 1, out, OUT_BYTES) == MISUSE);
        CHECK(told(&c) == n);
    }
    engine_handle h = engine_async_open("file:///no/such/directory/x.db", 30, 0, NULL, NULL);
    CODE(settled(h, 1, out), CANTOPEN);
    CODE(settled(h, query(h, "SELECT 1", 0), out), MISUSE);
    engine_close(h);
    h = open_or_fail(url);
    CODE(engine_async_start(h, NULL, NULL), ENGINE_OK);
    CODE(settled(h, query(h, "BEGIN; -- left open", 0), out), ENGINE_DONE);
    CODE(settled(h, engine_async_close(h), out), ENGINE_DONE);
    CHECK(engine_async_query(h, "SELECT 1", 8, NULL, 0, 0, 0, 0, 0) == 0);
    engine_close(h);
}

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    engine_handle handle;
    int is_closed;
} closer;

static void close_own(void *context, engine_request request)
{
    closer *c = context;
    (void)request;
    pthread_mutex_lock(&c->lock);
    CHECK(!c->is_closed);
    engine_close(c->handle);
    c->is_closed = 1;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void a_completion_closes_its_own_connection(void)
{
    static closer c = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };
    pthread_mutex_lock(&c.lock);
    c.handle = open_or_fail(url);
    CODE(engine_async_start(c.handle, close_own, &c), ENGINE_OK);
    query(c.handle, "SELECT 1", 0);
    while (!c.is_closed) pthread_cond_wait(&c.changed, &c.lock);
    pthread_mutex_unlock(&c.lock);
    REFUSED(engine_query(c.handle, "SELECT 1"), MISUSE);
}

static void *ends_with_a_transaction(void *unused)
{
    (void)unused;
    engine_handle h = engine_open_with(url, strlen(url), ENGINE_OPEN_THREAD);
    WORKS(engine_query(h, "BEGIN IMMEDIATE"));
    return (void *)h;
}

static void a_thread_that_ends_leaves_no_lock(void)
{
    pthread_t thread;
    void *h;
    CHECK(pthread_create(&thread, NULL, ends_with_a_transaction, NULL) == 0);
    CHECK(pthread_join(thread, &h) == 0);
    REFUSED(engine_query((engine_handle)h, "SELECT 1"), MISUSE);
    engine_handle other = open_or_fail(url);
    CODE(engine_set_busy_timeout(other, 0), ENGINE_OK);
    WORKS(engine_query(other, "INSERT INTO t VALUES (7)"));
    engine_close(other);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    uint8_t *out = malloc(OUT_BYTES);
    counter c = { PTHREAD_MUTEX_INITIALIZER, 0, 0 };
    url = url_in(argv[1], "async.db");
    engine_handle h = engine_async_open(url, strlen(url), 0, count, &c);
    CODE(settled(h, 1, out), ENGINE_DONE);
    completions_and_results(h, &c, out);
    streams(h, out);
    cancelling(h, out);
    synchronous_calls_are_refused_not_stuck(h, out);
    engine_close(h);
    closing_in_flight(out);
    a_completion_closes_its_own_connection();
    a_thread_that_ends_leaves_no_lock();
    free(out);
    free(url);
    return 0;
}
