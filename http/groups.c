/*
 * groups.c - worker groups: as they stand now, and their definitions by API.
 */
#include "http/http_priv.h"

#include "base/mem.h"

#include <string.h>

static void put_group(struct buf *b, const struct coordinator_snapshot_group *g,
                      const struct snapshot_alive *alive)
{
    assert(g->name[0] != '\0');
    json_put_str(b, "name", g->name);
    http_put_list(b, "addresses", g->addresses, g->n_addresses);
    http_put_list(b, "alive", alive->addresses, alive->n);
    group_settings_put(b, g->settings);
}

/* The first group behind the cursor: "default" is first, the others are by
 * name. */
static size_t behind(const struct snapshot *s, const char *cursor)
{
    size_t i = cursor == NULL ? 0 : 1;

    assert(s->n_groups > 0);
    if (cursor == NULL || strcmp(cursor, "default") == 0)
        return i;
    while (i < s->n_groups && strcmp(s->groups[i].name, cursor) <= 0)
        i++;
    return i;
}

static void put_groups(struct buf *b, const struct snapshot *s, size_t from,
                       size_t n)
{
    struct snapshot_alive *alive = mem_array(n + 1, sizeof(*alive));

    assert(from + n <= s->n_groups);
    coordinator_snapshot_alive(s, from, n, alive);
    for (size_t i = 0; i < n; i++) {
        json_open(b, NULL, '{');
        put_group(b, &s->groups[from + i], &alive[i]);
        json_close(b, '}');
    }
    coordinator_snapshot_alive_close(alive, n);
    mem_free(alive);
}

void http_groups_list(struct http_request *r)
{
    const char *cursor = http_query(r, "cursor");
    int64_t limit = HTTP_LIMIT;
    char clean[NODE_GROUP_MAX + 1];
    struct snapshot *s;
    size_t from, n;

    assert(r->method == HTTP_GET);
    if (cursor != NULL &&
        (cursor[0] == '\0' || node_clean_group(cursor, clean, NULL) != 0)) {
        http_problem(r, PROBLEM_INVALID, HTTP_BAD_CURSOR);
        return;
    }
    if (!http_query_int(r, "limit", 1, HTTP_LIMIT_MAX, &limit))
        return;
    s = coordinator_snapshot(r->h->coordinator);
    from = behind(s, cursor);
    n = s->n_groups - from;
    if (n > (size_t)limit)
        n = (size_t)limit;
    put_groups(http_list(r, s), s, from, n);
    http_list_end(r,
                  from + n < s->n_groups ? s->groups[from + n - 1].name : NULL);
    coordinator_snapshot_release(&s);
}

void http_group_get(struct http_request *r)
{
    const struct coordinator_snapshot_group *g;
    struct snapshot_alive alive;
    struct snapshot *s;
    struct buf *b;

    assert(r->method == HTTP_GET);
    s = coordinator_snapshot(r->h->coordinator);
    g = coordinator_snapshot_group(s, r->param[0]);
    if (g == NULL) {
        http_problem(r, PROBLEM_GROUP_NOT_FOUND, "no group %s", r->param[0]);
    } else {
        coordinator_snapshot_alive(s, (size_t)(g - s->groups), 1, &alive);
        b = http_object(r, 200);
        put_group(b, g, &alive);
        coordinator_snapshot_alive_close(&alive, 1);
        http_put_as_of(r->h, b, s);
        json_close(b, '}');
    }
    coordinator_snapshot_release(&s);
}

static void group_done(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = http_ended(arg);
    struct buf *b;

    if (r == NULL)
        return;
    if (reply->code == PROBLEM_NOT_FOUND) {
        http_problem(r, PROBLEM_GROUP_NOT_FOUND,
                     "no group %s is defined over the API", r->param[0]);
    } else if (reply->code != PROBLEM_NONE) {
        http_refuse(r, reply->code, &reply->err, 0);
    } else if (r->method == HTTP_DELETE) {
        http_no_content(r);
    } else {
        b = http_object(r, reply->created ? 201 : 200);
        json_put_str(b, "name", r->param[0]);
        json_put_raw(b, "addresses", reply->group_addresses);
        group_settings_put(b, reply->group_settings);
        json_close(b, '}');
    }
    http_answer_write(r, &reply->wrote);
}

/* Both halves were checked. */
static void put_group_on_loop(struct http_request *r)
{
    const struct json *list = json_get(r->json, "addresses"), *item;
    const struct json *balancer = json_get(r->json, "balancer");
    const char **addresses = mem_array(json_count(list) + 1, sizeof(char *));
    struct group_settings_change change;
    struct group_put put = {.addresses = list != NULL ? addresses : NULL};
    struct err err;

    assert(list != NULL || balancer != NULL);
    json_each (item, list)
        addresses[put.n++] = item->string;
    if (balancer != NULL) {
        (void)group_settings_read(balancer, &change, &err);
        put.settings = &change;
    }
    coordinator_group_put(r->h->coordinator, r->param[0], &put, group_done, r);
    mem_free(addresses);
}

static bool check_addresses(struct http_request *r, const struct json *list)
{
    const struct json *item;

    assert(list != NULL);
    if (!json_is(list, JSON_ARRAY))
        return http_problem(r, PROBLEM_INVALID_JSON,
                            "addresses: an array of host:port is expected");
    json_each (item, list) {
        if (!json_is(item, JSON_STRING))
            return http_problem(r, PROBLEM_INVALID_JSON,
                                "addresses: only strings");
        if (!http_address(r, PROBLEM_INVALID_VALUE, item->string))
            return false;
    }
    return true;
}

static bool check_settings(struct http_request *r, const struct json *balancer)
{
    struct group_settings_change change;
    struct err err;
    enum problem wrong = group_settings_read(balancer, &change, &err);

    assert(balancer != NULL);
    return wrong == PROBLEM_NONE || http_problem(r, wrong, "%s", err.msg);
}

void http_group_put(struct http_request *r)
{
    const struct json *list = json_get(r->json, "addresses");
    const struct json *balancer = json_get(r->json, "balancer");

    assert(r->method == HTTP_PUT);
    assert(!r->handed);
    if (list == NULL && balancer == NULL)
        (void)http_problem(r, PROBLEM_INVALID_JSON,
                           "addresses, an array of host:port, is expected, or "
                           "balancer, an object of settings");
    else if ((list == NULL || check_addresses(r, list)) &&
             (balancer == NULL || check_settings(r, balancer)))
        http_on_loop(r, put_group_on_loop);
}

void http_group_delete(struct http_request *r)
{
    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_DELETE);
    coordinator_group_delete(r->h->coordinator, r->param[0], group_done, r);
}
