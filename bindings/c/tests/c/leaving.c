/* Processes that end, or divide, while handles are open. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { WRITERS = 3, ROUNDS = 4 };

static char *url;

static void *write_for_ever(void *unused)
{
    (void)unused;
    engine_handle h = open_or_fail(url);
    for (;;) WORKS(engine_query(h, "INSERT INTO t VALUES (1)"));
    return NULL;
}

/* main returns while other threads are inside calls. */
static void leave_while_threads_write(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            engine_handle h = open_or_fail(url);
            WORKS(engine_query(h, "CREATE TABLE IF NOT EXISTS t(n)"));
            pthread_t threads[WRITERS];
            for (int i = 0; i < WRITERS; i++) CHECK(pthread_create(&threads[i], NULL, write_for_ever, NULL) == 0);
            while (one_integer(h, "SELECT count(*) FROM t") < 5 * (round + 1)) {}
            if (round % 2 == 0) engine_close(h);
            exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) FAIL("round %d ended with status %x", round, status);
    }
}

/* A child neither uses nor closes what its parent opened. */
static void divide(void)
{
    engine_handle h = open_or_fail(url);
    WORKS(engine_query(h, "BEGIN IMMEDIATE; DELETE FROM t; INSERT INTO t VALUES (1)"));
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        REFUSED(engine_query(h, "INSERT INTO t VALUES (2)"), MISUSE);
        HOLDS(engine_last_error(h), "fork()");
        CHECK(engine_open(url) == 0);
        CHECK(engine_last_error(0) != NULL);
        engine_close(h);
        HOLDS(engine_last_error(0), "fork()");
        /* Not exit(): fork() did not copy the parent's threads, so valgrind would call what they own leaked. */
        kill(getpid(), SIGKILL);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    WORKS(engine_query(h, "INSERT INTO t VALUES (3); COMMIT"));
    CHECK(one_integer(h, "SELECT sum(n) FROM t") == 4);
    HOLDS(engine_query(h, "PRAGMA integrity_check"), "\"ok\"");
    engine_close(h);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    url = url_in(argv[1], "leaving.db");
    leave_while_threads_write();
    divide();
    free(url);
    return 0;
}
