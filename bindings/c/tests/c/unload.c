/* dlclose while the engine's threads run: the library stays. ENGINE_LIB is its path. */
#define _DEFAULT_SOURCE /* RTLD_NOLOAD */
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

#include "check.h"

static char *url;

/* ISO C has no cast from an object pointer to a function pointer; POSIX promises their sizes. */
static void find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL) FAIL("%s", dlerror());
    memcpy(function, &symbol, sizeof symbol);
}

/* In a thread that ends: its exit drops its thread-local variables, which keep the library in memory too. */
static void *load_use_unload(void *unused)
{
    engine_handle (*open_)(const char *);
    const char *(*query)(engine_handle, const char *);
    (void)unused;
    void *library = dlopen(getenv("ENGINE_LIB"), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) FAIL("%s", dlerror());
    find(library, "engine_open", &open_);
    find(library, "engine_query", &query);
    engine_handle h = open_(url);
    CHECK(h != 0);
    WORKS(query(h, "CREATE TABLE IF NOT EXISTS t(n); INSERT INTO t VALUES (1)"));
    CHECK(dlclose(library) == 0);
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    url = url_in(argv[1], "unload.db");

    void *library = dlopen(getenv("ENGINE_LIB"), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) FAIL("%s", dlerror());
    CHECK(dlclose(library) == 0);
    library = dlopen(getenv("ENGINE_LIB"), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    CHECK(library != NULL);
    CHECK(dlclose(library) == 0);

    for (int round = 0; round < 3; round++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, load_use_unload, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    free(url);
    return 0;
}
