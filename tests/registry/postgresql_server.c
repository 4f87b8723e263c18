/*
 * postgresql_server.c - how a PostgreSQL server is made and run for tests. It
 * refuses to run as root.
 */
#include "tests/registry/sql_server.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Debian keeps its programs out of PATH; POSTGRESQL_HOME names the directory
 * of another one, with bin/ below it. */
static const char *program(const char *name)
{
    const char *home = getenv("POSTGRESQL_HOME");

    if (home != NULL && home[0] != '\0')
        return sql_server_arg("%s/bin/%s", home, name);
    for (unsigned version = 19; version >= 10; version--) {
        const char *path =
            sql_server_arg("/usr/lib/postgresql/%u/bin/%s", version, name);

        if (access(path, X_OK) == 0)
            return path;
    }
    return name;
}

static void init(const struct sql_server *s, const char *argv[SQL_SERVER_ARGS])
{
    size_t n = 0;

    argv[n++] = program("initdb");
    argv[n++] = "--pgdata";
    argv[n++] = s->data;
    argv[n++] = "--username=pelorus";
    argv[n++] = "--auth=trust";
    argv[n++] = "--encoding=UTF8";
    argv[n++] = "--locale=C";
    argv[n++] = "--no-sync";
    argv[n] = NULL;
}

static void run(const struct sql_server *s, const char *argv[SQL_SERVER_ARGS])
{
    size_t n = 0;

    argv[n++] = program("postgres");
    argv[n++] = "-D";
    argv[n++] = s->data;
    argv[n++] = "-h";
    argv[n++] = "127.0.0.1";
    argv[n++] = "-p";
    argv[n++] = sql_server_arg("%u", s->port);
    argv[n++] = "-F"; /* no fsync */
    argv[n++] = "-k";
    argv[n++] = ""; /* no socket in the file system */
    argv[n++] = "-c";
    argv[n++] = "full_page_writes=off";
    argv[n++] = "-c";
    argv[n++] = "shared_buffers=64MB";
    argv[n++] = "-c";
    argv[n++] = "max_connections=100";
    argv[n++] = "-c";
    argv[n++] = "dynamic_shared_memory_type=mmap"; /* goes with its data */
    argv[n] = NULL;
}

const struct sql_server_kind postgresql_server = {
    .name = "postgresql",
    .user = "postgres",
    .admin = "pelorus",
    .system = "postgres",
    .init = init,
    .run = run,
    .create = "TEMPLATE template0",
    .drop = "WITH (FORCE)",
    .quit = SIGQUIT, /* SIGKILL leaves its shared memory */
};
