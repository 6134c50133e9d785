/* Threads with handles of their own; several threads on one handle; closing under a running call. */
#include <pthread.h>

#include "check.h"

enum { WRITERS = 6, ROWS = 40 };

static char *url;
static engine_handle shared;

static void *write_rows(void *argument)
{
    int writer = *(int *)argument;
    engine_handle h = open_or_fail(url);
    for (int row = 0; row < ROWS; row++) {
        char sql[80];
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES (%d, %d)", writer, row);
        HOLDS(engine_query(h, sql), "\"changes\":1");
    }
    CHECK(one_integer(h, "SELECT count(*) FROM t") >= ROWS);
    engine_close(h);
    return NULL;
}

static void writers_of_one_database(void)
{
    engine_handle h = open_or_fail(url);
    WORKS(engine_query(h, "CREATE TABLE t(writer, n)"));
    pthread_t threads[WRITERS];
    int names[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        names[i] = i;
        CHECK(pthread_create(&threads[i], NULL, write_rows, &names[i]) == 0);
    }
    for (int i = 0; i < WRITERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(one_integer(h, "SELECT count(*) FROM (SELECT DISTINCT writer, n FROM t)") == WRITERS * ROWS);
    engine_close(h);
}

/* Runs a query that never ends by itself; what another thread gets in first is tried again. */
static void *run_for_ever(void *unused)
{
    const char *answer;
    (void)unused;
    do {
        answer = engine_query(shared,
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c");
    } while (strstr(answer, "running another call") != NULL);
    REFUSED(answer, INTERRUPT);
    return NULL;
}

static void one_handle_runs_one_call(void)
{
    pthread_t thread;
    const char *answer;
    shared = open_or_fail(url);
    CHECK(pthread_create(&thread, NULL, run_for_ever, NULL) == 0);
    do answer = engine_query(shared, "SELECT 1"); while (strncmp(answer, "{\"error\"", 8) != 0);
    REFUSED(answer, MISUSE);
    HOLDS(answer, "running another call");
    HOLDS(engine_last_error(0), "running another call");
    HOLDS(engine_last_error(shared), "running another call");
    engine_close(shared);
    CHECK(engine_last_error(0) == NULL);
    CHECK(pthread_join(thread, NULL) == 0);
    REFUSED(engine_query(shared, "SELECT 1"), MISUSE);
}

/* Many threads hammer one handle: each call is a result of its own query or a refusal, and the text stays
 * readable for its thread whatever the others do. */
static void *hammer(void *argument)
{
    int name = *(int *)argument;
    char sql[40], expected[40];
    snprintf(sql, sizeof sql, "SELECT 'thread', %d", name);
    snprintf(expected, sizeof expected, "[[\"thread\",%d]]", name);
    for (;;) {
        const char *answer = engine_query(shared, sql);
        if (strstr(answer, "not an open handle") != NULL) return NULL;
        if (strncmp(answer, "{\"error\"", 8) == 0) {
            if (strstr(answer, "running another call") == NULL) REFUSED(answer, INTERRUPT);
        } else {
            HOLDS(answer, expected);
        }
        const char *message = engine_last_error(shared);
        if (message != NULL) CHECK(strlen(message) > 0);
    }
}

static void many_threads_on_one_handle(void)
{
    pthread_t threads[WRITERS];
    int names[WRITERS];
    shared = open_or_fail(url);
    for (int i = 0; i < WRITERS; i++) {
        names[i] = i;
        CHECK(pthread_create(&threads[i], NULL, hammer, &names[i]) == 0);
    }
    for (int results = 0; results < 20;) results += strncmp(engine_query(shared, "SELECT 0"), "{\"columns\"", 10) == 0;
    engine_close(shared);
    for (int i = 0; i < WRITERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void *query_shared(void *unused)
{
    (void)unused;
    return (void *)engine_query(shared, "SELECT 'from a thread that has ended'");
}

static void *close_shared(void *unused)
{
    (void)unused;
    engine_close(shared);
    return NULL;
}

/* An answer belongs to the handle even when its thread has ended, and to the thread even when the handle was
 * closed by another one. */
static void answers_outlive_threads_and_handles(void)
{
    pthread_t thread;
    void *answer;
    shared = open_or_fail(url);
    CHECK(pthread_create(&thread, NULL, query_shared, NULL) == 0);
    CHECK(pthread_join(thread, &answer) == 0);
    HOLDS((const char *)answer, "from a thread that has ended");

    const char *mine = engine_query(shared, "SELECT 'mine'");
    CHECK(pthread_create(&thread, NULL, close_shared, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    HOLDS(mine, "mine");
    REFUSED(engine_query(shared, "SELECT 1"), MISUSE);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    url = url_in(argv[1], "threads.db");
    writers_of_one_database();
    one_handle_runs_one_call();
    many_threads_on_one_handle();
    answers_outlive_threads_and_handles();
    free(url);
    return 0;
}
