/* What the C programs of this directory share: assertions that say what was found, and threads' answers. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define FAIL(...)                                          \
    do {                                                   \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);    \
        fprintf(stderr, __VA_ARGS__);                      \
        fputc('\n', stderr);                               \
        exit(1);                                           \
    } while (0)

#define CHECK(condition) \
    do { if (!(condition)) FAIL("not so: %s", #condition); } while (0)

/* The answer is exactly `expected`. */
#define IS(answer, expected)                                                              \
    do {                                                                                  \
        const char *found_ = (answer), *expected_ = (expected);                           \
        if (found_ == NULL || strcmp(found_, expected_) != 0)                             \
            FAIL("expected %s\n   found %s", expected_, found_ == NULL ? "NULL" : found_); \
    } while (0)

/* The text holds `part`. */
#define HOLDS(text, part)                                                             \
    do {                                                                              \
        const char *found_ = (text);                                                  \
        if (found_ == NULL || strstr(found_, (part)) == NULL)                         \
            FAIL("expected %s in %s", (part), found_ == NULL ? "NULL" : found_);      \
    } while (0)

/* The answer is an error with this primary code. */
#define REFUSED(answer, code)                                                    \
    do {                                                                         \
        char start_[48];                                                         \
        snprintf(start_, sizeof start_, "{\"error\":{\"code\":%d,", (code));     \
        const char *found_ = (answer);                                           \
        if (found_ == NULL || strncmp(found_, start_, strlen(start_)) != 0)      \
            FAIL("expected %s found %s", start_, found_ == NULL ? "NULL" : found_); \
    } while (0)

/* The answer is a result. */
#define WORKS(answer)                                                            \
    do {                                                                         \
        const char *found_ = (answer);                                           \
        if (found_ == NULL || strncmp(found_, "{\"columns\":", 11) != 0)         \
            FAIL("expected a result, found %s", found_ == NULL ? "NULL" : found_); \
    } while (0)

enum { ERROR = 1, BUSY = 5, INTERRUPT = 9, CANTOPEN = 14, CONSTRAINT = 19, MISUSE = 21 };

/* file://<directory>/<name>; the caller frees it. */
static inline char *url_in(const char *directory, const char *name)
{
    size_t size = strlen(directory) + strlen(name) + sizeof "file:///";
    char *url = malloc(size);
    CHECK(url != NULL);
    snprintf(url, size, "file://%s/%s", directory, name);
    return url;
}

static inline engine_handle open_or_fail(const char *url)
{
    engine_handle handle = engine_open(url);
    if (handle == 0) FAIL("%s: %s", url, engine_last_error(0));
    return handle;
}

/* The one integer that a query answers. */
static inline long long one_integer(engine_handle handle, const char *sql)
{
    const char *answer = engine_query(handle, sql);
    const char *at = answer == NULL ? NULL : strstr(answer, "\"rows\":[[");
    if (at == NULL) FAIL("%s: %s", sql, answer == NULL ? "NULL" : answer);
    return strtoll(at + strlen("\"rows\":[["), NULL, 10);
}

#endif
