/* What was answered is there: after closing, after opening again and again, in memory as long as a handle is open,
 * and after kill -9 of the process that wrote it. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { KILLS = 3, ACKNOWLEDGED = 20 };

/* Inserts and counts in one transaction, and acknowledges each commit with one byte. */
static void write_until_killed(const char *url, int acknowledge)
{
    engine_handle h = open_or_fail(url);
    for (;;) {
        WORKS(engine_query(h, "BEGIN IMMEDIATE; INSERT INTO t DEFAULT VALUES"));
        WORKS(engine_query(h, "UPDATE counted SET n = n + 1; COMMIT"));
        if (write(acknowledge, "+", 1) != 1) _exit(2);
    }
}

static void kill_and_reopen(const char *url)
{
    long long acknowledged = 0;
    for (int round = 0; round < KILLS; round++) {
        int pipes[2];
        CHECK(pipe(pipes) == 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            close(pipes[0]);
            write_until_killed(url, pipes[1]);
        }
        close(pipes[1]);
        char byte;
        for (int i = 0; i < ACKNOWLEDGED; i++) {
            if (read(pipes[0], &byte, 1) != 1) FAIL("the writer ended by itself");
            acknowledged++;
        }
        CHECK(kill(child, SIGKILL) == 0);
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
        while (read(pipes[0], &byte, 1) == 1) acknowledged++;
        close(pipes[0]);

        /* In a process of its own, because a handle does not survive fork(). */
        pid_t reader = fork();
        CHECK(reader >= 0);
        if (reader == 0) {
            engine_handle h = open_or_fail(url);
            long long rows = one_integer(h, "SELECT count(*) FROM t");
            if (rows < acknowledged || rows > acknowledged + round + 1)
                FAIL("%lld rows for %lld acknowledged commits", rows, acknowledged);
            CHECK(one_integer(h, "SELECT n FROM counted") == rows);
            HOLDS(engine_query(h, "PRAGMA integrity_check"), "\"ok\"");
            engine_close(h);
            exit(0);
        }
        CHECK(waitpid(reader, &status, 0) == reader && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void create(const char *url)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        engine_handle h = open_or_fail(url);
        WORKS(engine_query(h, "CREATE TABLE t(n INTEGER PRIMARY KEY); CREATE TABLE counted(n); "
                              "INSERT INTO counted VALUES (0)"));
        engine_close(h);
        exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char *url = url_in(argv[1], "killed.db");
    create(url);
    kill_and_reopen(url);
    free(url);

    url = url_in(argv[1], "reopened.db");
    engine_handle h = open_or_fail(url);
    WORKS(engine_query(h, "CREATE TABLE t(n)"));
    engine_close(h);
    for (int i = 1; i <= 20; i++) {
        h = open_or_fail(url);
        WORKS(engine_query(h, "INSERT INTO t VALUES (1)"));
        CHECK(one_integer(h, "SELECT count(*) FROM t") == i);
        engine_close(h);
    }
    char *read_only = url_in(argv[1], "reopened.db?mode=ro");
    h = open_or_fail(read_only);
    CHECK(one_integer(h, "SELECT count(*) FROM t") == 20);
    REFUSED(engine_query(h, "INSERT INTO t VALUES (1)"), 8);
    engine_close(h);
    free(read_only);
    free(url);

    /* Private memory, and memory shared by name. */
    h = open_or_fail(":memory:");
    WORKS(engine_query(h, "CREATE TABLE t(n)"));
    engine_handle other = open_or_fail(":memory:");
    REFUSED(engine_query(other, "SELECT * FROM t"), ERROR);
    engine_close(h);
    engine_close(other);
    h = open_or_fail("memory://shared");
    other = open_or_fail("memory://shared");
    WORKS(engine_query(h, "CREATE TABLE t(n)"));
    WORKS(engine_query(other, "SELECT * FROM t"));
    engine_close(h);
    engine_close(other);
    return 0;
}
