/*
 * mysql_server.c - how a MariaDB server is made and run for tests.
 */
#include "tests/registry/sql_server.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* The installed one's, or below the directory that MARIADB_HOME names. */
static const char *home(void)
{
    const char *path = getenv("MARIADB_HOME");

    return path != NULL && path[0] != '\0' ? path : NULL;
}

static const char *program(const char *name, const char *debian)
{
    static const char *const dirs[] = {"bin", "scripts", "sbin"};

    for (size_t i = 0; home() != NULL && i < 3; i++) {
        const char *path = sql_server_arg("%s/%s/%s", home(), dirs[i], name);

        if (access(path, X_OK) == 0)
            return path;
    }
    return home() != NULL ? sql_server_arg("%s/bin/%s", home(), name) : debian;
}

static void init(const struct sql_server *s, const char *argv[SQL_SERVER_ARGS])
{
    size_t n = 0;

    argv[n++] = program("mariadb-install-db", "mariadb-install-db");
    argv[n++] = "--no-defaults";
    if (home() != NULL)
        argv[n++] = sql_server_arg("--basedir=%s", home());
    argv[n++] = "--auth-root-authentication-method=normal";
    argv[n++] = "--skip-test-db";
    argv[n++] = "--skip-name-resolve";
    argv[n++] = "--innodb-flush-log-at-trx-commit=0";
    argv[n++] = "--innodb-log-file-size=16M";
    argv[n++] = "--innodb-data-file-path=ibdata1:12M:autoextend";
    argv[n++] = geteuid() == 0 ? "--user=root" : "--skip-external-locking";
    argv[n++] = sql_server_arg("--datadir=%s", s->data);
    argv[n++] = sql_server_arg("--tmpdir=%s", s->dir);
    argv[n] = NULL;
}

static void run(const struct sql_server *s, const char *argv[SQL_SERVER_ARGS])
{
    size_t n = 0;

    argv[n++] = program("mariadbd", "/usr/sbin/mariadbd");
    argv[n++] = "--no-defaults";
    if (home() != NULL)
        argv[n++] = sql_server_arg("--basedir=%s", home());
    argv[n++] = "--bind-address=127.0.0.1";
    argv[n++] = "--skip-name-resolve";
    argv[n++] = "--innodb-flush-log-at-trx-commit=2";
    argv[n++] = "--innodb-log-file-size=16M";
    argv[n++] = "--innodb-buffer-pool-size=64M";
    argv[n++] = "--innodb-flush-method=nosync";
    argv[n++] = "--performance-schema=OFF";
    argv[n++] = "--max-connections=100";
    argv[n++] = geteuid() == 0 ? "--user=root" : "--skip-external-locking";
    argv[n++] = sql_server_arg("--datadir=%s", s->data);
    /* Whoever starts removes what he takes for his own in /tmp. */
    argv[n++] = sql_server_arg("--tmpdir=%s", s->dir);
    argv[n++] = sql_server_arg("--port=%u", s->port);
    argv[n++] = sql_server_arg("--socket=%s/socket", s->dir);
    argv[n++] = sql_server_arg("--pid-file=%s/pid", s->dir);
    argv[n] = NULL;
}

const struct sql_server_kind mysql_server = {
    .name = "mysql",
    .admin = "root",
    .system = "mysql",
    .init = init,
    .run = run,
    .create = "CHARACTER SET utf8mb4",
    .drop = "",
    .quit = SIGKILL,
};
