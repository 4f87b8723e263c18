/*
 * store_cost.c - what a store has written and spent, see store.h: by its files
 * where they tell, by the server's word where files are made in advance.
 */
#include "tests/bench/store.h"

#include "base/buf.h"
#include "base/json/json.h"
#include "base/mem.h"
#include "registry/dbms/dbms_priv.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLY_MAX ((size_t)1 << 20)

static NORETURN void die(const char *what)
{
    (void)fprintf(stderr, "store_cost: %s\n", what);
    exit(1);
}

/* --- files --------------------------------------------------------------- */

/* Up to the last byte that is not 0: the rest was made in advance. */
static uint64_t used_bytes(const char *path)
{
    static unsigned char block[65536];
    FILE *f = fopen(path, "rb");
    uint64_t at = 0, used = 0;
    size_t n;

    if (f == NULL)
        return 0; /* rotated away meanwhile */
    while ((n = fread(block, 1, sizeof(block), f)) > 0) {
        for (size_t i = n; i > 0; i--) {
            if (block[i - 1] != 0) {
                used = at + i;
                break;
            }
        }
        at += n;
    }
    (void)fclose(f);
    return used;
}

/* Of all files in a directory whose names begin so. */
static uint64_t sum_files(const char *dir, const char *prefix)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    uint64_t sum = 0;

    if (d == NULL)
        die("its directory cannot be read");
    while ((e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0) {
            char *path = mem_printf("%s/%s", dir, e->d_name);

            sum += used_bytes(path);
            mem_free(path);
        }
    }
    (void)closedir(d);
    return sum;
}

static uint64_t zookeeper_written(const struct store *s)
{
    char *dir = mem_printf("%s/data/version-2", s->data);
    uint64_t sum = sum_files(dir, "log.");

    mem_free(dir);
    return sum;
}

/* All that this program has written. */
static uint64_t own_written(void)
{
    FILE *f = fopen("/proc/self/io", "r");
    unsigned long long n = 0;
    char line[80];

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "wchar: %llu", &n) == 1)
            break;
    if (f == NULL || fclose(f) != 0)
        die("/proc/self/io cannot be read");
    return n;
}

/* --- the servers' word --------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    buf_add(arg, data, size * n);
    return size * n;
}

/* Ends with the program: the caller frees it not. */
static const struct json *etcd_status(const struct store *s)
{
    static const struct json *root;
    char *url = mem_printf("%s/v3/maintenance/status", s->url);
    CURL *easy = curl_easy_init();
    struct buf body;

    json_free(root);
    root = NULL;
    buf_init(&body, REPLY_MAX);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "{}");
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
    if (curl_easy_perform(easy) != CURLE_OK ||
        json_parse(buf_text(&body), body.len, &root, NULL) != 0)
        die("etcd does not tell its status");
    curl_easy_cleanup(easy);
    buf_close(&body);
    mem_free(url);
    return root;
}

static uint64_t told(const struct json *object, const char *name)
{
    const char *text = json_string(json_get(object, name));

    if (text == NULL)
        die("etcd's status lacks what is asked for");
    return strtoull(text, NULL, 10);
}

/* What ends the first column of the only row: "0-1-17", "17". */
static void on_number(void *arg, const struct dbms_cell *cells, unsigned n)
{
    const char *text = n >= 1 && cells[0].p != NULL ? cells[0].p : "";
    const char *last = strrchr(text, '-');

    *(uint64_t *)arg = strtoull(last == NULL ? text : last + 1, NULL, 10);
}

static uint64_t sql_number(const struct store *s, const char *sql)
{
    struct dbms_target target = {0};
    struct dbms_link *link = NULL;
    struct err err = {0};
    uint64_t n = 0;

    if (dbms_target_parse(&target, s->url, &err) != 0)
        die(err.msg);
    target.url.user = mem_strdup(s->conf.user);
    target.url.connect_ms = target.url.call_ms = target.idle_ms = 60000;
    if (target.driver->connect(&link, &target, &err) != DBMS_OK ||
        target.driver->run(link, sql, strlen(sql), on_number, &n, &err) !=
            DBMS_OK)
        die(err.msg);
    target.driver->close(&link);
    dbms_target_close(&target);
    return n;
}

static uint64_t zookeeper_zxid(const struct store *s)
{
    const char *port = strrchr(s->conf.connect_string, ':') + 1;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port =
                                 htons((uint16_t)strtoul(port, NULL, 10)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[4096] = "";
    const char *at;
    size_t len = 0;
    ssize_t n;

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
        send(fd, "srvr", 4, MSG_NOSIGNAL) != 4)
        die("ZooKeeper does not answer");
    while ((n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
        len += (size_t)n;
    (void)close(fd);
    at = strstr(text, "Zxid: 0x");
    if (at == NULL)
        die("ZooKeeper does not tell its zxid");
    return strtoull(at + strlen("Zxid: 0x"), NULL, 16) & 0xffffffff;
}

static uint64_t sqlite_revision(const struct store *s)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    uint64_t n;

    if (sqlite3_open_v2(s->conf.path, &db, SQLITE_OPEN_READONLY, NULL) !=
            SQLITE_OK ||
        sqlite3_busy_timeout(db, 10000) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "SELECT revision FROM meta", -1, &stmt, NULL) !=
            SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW)
        die("the file cannot be read");
    n = (uint64_t)sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return n;
}

uint64_t store_changes(const struct store *s)
{
    switch (s->conf.type) {
    case CONF_SQLITE:
        return sqlite_revision(s);
    case CONF_ZOOKEEPER:
        return zookeeper_zxid(s);
    case CONF_ETCD:
        return told(json_get(etcd_status(s), "header"), "revision");
    default:
        return sql_number(s, strcmp(s->kind, "mysql") == 0
                                 ? "SELECT @@gtid_binlog_pos"
                                 : "SELECT txid_snapshot_xmax("
                                   "txid_current_snapshot())");
    }
}

uint64_t store_written(const struct store *s)
{
    static const char wal[] =
        "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";

    switch (s->conf.type) {
    case CONF_SQLITE:
        return own_written();
    case CONF_ZOOKEEPER:
        return zookeeper_written(s);
    case CONF_ETCD:
        return told(etcd_status(s), "dbSizeInUse");
    default:
        return strcmp(s->kind, "mysql") == 0 ? sum_files(s->data, "binlog.0")
                                             : sql_number(s, wal);
    }
}

/* --- processor time ------------------------------------------------------ */

/* Of one process, if it is of this group, which the server leads, or a child
 * of the server (PostgreSQL's lead groups of their own). */
static uint64_t ticks_of(const char *name, pid_t group)
{
    unsigned long user, kernel, ended_user, ended_kernel;
    char path[300], text[1024];
    const char *end = NULL;
    int parent, pgrp;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%.16s/stat", name);
    f = fopen(path, "r");
    if (f == NULL)
        return 0;
    if (fgets(text, sizeof(text), f) != NULL)
        end = strrchr(text, ')');
    (void)fclose(f);
    /* pid (name) state ppid pgrp ... utime stime cutime cstime */
    if (end == NULL ||
        sscanf(end + 1,
               " %*c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu",
               &parent, &pgrp, &user, &kernel, &ended_user,
               &ended_kernel) != 6 ||
        (pgrp != (int)group && parent != (int)group))
        return 0;
    return user + kernel + ended_user + ended_kernel;
}

uint64_t store_cpu_us(const struct store *s)
{
    DIR *d = opendir("/proc");
    uint64_t ticks = 0;
    struct timespec own;
    struct dirent *e;

    if (d == NULL)
        die("/proc cannot be read");
    while (s->pid != 0 && (e = readdir(d)) != NULL)
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
            ticks += ticks_of(e->d_name, s->pid);
    (void)closedir(d);
    if (s->pid != 0)
        return ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    return (uint64_t)own.tv_sec * 1000000 + (uint64_t)own.tv_nsec / 1000;
}
