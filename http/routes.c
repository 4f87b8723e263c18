/*
 * routes.c - every route of the API in one table, and what a request's line
 * asks for: its path, its method, and the query parameters it may have.
 *
 * Paths are matched segment by segment; "{...}" takes any one segment. Two
 * dozen routes are walked in the order of how often they are asked for. A
 * target in absolute form is its path (a proxy may send it so), and a slash at
 * the end says nothing.
 */
#include "http/http_priv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PAGE "limit cursor"
#define POLL "index wait"

static const struct http_route routes[] = {
    {"/v1/workers/best",
     {[HTTP_GET] = {http_best_get, NULL, NULL,
                    "group count affinity exclude peek explain stale " POLL}}},
    {"/v1/picks/{pick}/done", {[HTTP_POST] = {http_pick_done, NULL, NULL, ""}}},
    {"/v1/picks/{pick}/refused",
     {[HTTP_POST] = {http_pick_refused, NULL, NULL, ""}}},
    {"/v1/nodes/{kind}/{address}",
     {[HTTP_GET] = {http_nodes_get, NULL, NULL, "watch " POLL},
      [HTTP_PUT] = {http_node_put, NULL, "", "ttl instance takeover"},
      [HTTP_DELETE] = {http_node_delete, NULL, NULL, "startupTime instance"}}},
    {"/v1/work/{id}",
     {[HTTP_GET] = {NULL, http_work_get, NULL, POLL},
      [HTTP_PUT] = {http_work_put, NULL,
                    "id kind owner startupTime group policy payload", ""},
      [HTTP_DELETE] = {http_work_at, http_work_done, NULL, "epoch"}}},
    {"/v1/work",
     {[HTTP_GET] = {http_work_list, NULL, NULL,
                    "kind owner state " PAGE " " POLL},
      [HTTP_POST] = {http_work_post, NULL, "", ""}}},
    {"/v1/fence/check",
     {[HTTP_POST] = {http_fence_check, NULL, "work epoch", ""}}},
    {"/v1/nodes",
     {[HTTP_GET] = {http_nodes_get, NULL, NULL,
                    "kind group state status prefix watch " PAGE " " POLL}}},
    {"/v1/work/{id}/handover",
     {[HTTP_POST] = {http_work_at, http_work_handover, NULL, "epoch"}}},
    {"/v1/work/{id}/release",
     {[HTTP_POST] = {http_work_release, NULL, NULL, "epoch"}}},
    {"/v1/nodes/{kind}/{address}/cordon",
     {[HTTP_PUT] = {http_gate_order, http_cordon, NULL, "reason who"},
      [HTTP_DELETE] = {http_gate_order, http_cordon, NULL, "reason who"}}},
    {"/v1/nodes/{kind}/{address}/drain",
     {[HTTP_PUT] = {http_gate_order, http_drain, NULL, "for reason who"},
      [HTTP_DELETE] = {http_gate_order, http_drain, NULL, "reason who"}}},
    {"/v1/nodes/{kind}/{address}/restart",
     {[HTTP_PUT] = {http_gate_order, http_restart, NULL, "for reason who"},
      [HTTP_DELETE] = {http_gate_order, http_restart, NULL, "reason who"}}},
    {"/v1/nodes/{kind}/{address}/gate",
     {[HTTP_DELETE] = {http_gate_order, http_forget, NULL, "reason who"}}},
    {"/v1/groups",
     {[HTTP_GET] = {http_groups_list, NULL, NULL, PAGE " " POLL}}},
    {"/v1/groups/{group}",
     {[HTTP_GET] = {http_group_get, NULL, NULL, POLL},
      [HTTP_PUT] = {http_group_put, NULL, "addresses balancer", ""},
      [HTTP_DELETE] = {NULL, http_group_delete, NULL, ""}}},
    {"/v1/failovers",
     {[HTTP_GET] = {http_failovers_list, NULL, NULL, PAGE " " POLL},
      [HTTP_POST] = {http_failovers_post, NULL,
                     "kind address dry_run force who reason", ""}}},
    {"/v1/failovers/{id}",
     {[HTTP_GET] = {NULL, http_failover_get, NULL, POLL},
      [HTTP_DELETE] = {NULL, http_failover_withdraw, NULL, ""}}},
    {"/v1/settings",
     {[HTTP_GET] = {NULL, http_settings_get, NULL, POLL},
      [HTTP_PATCH] = {NULL, http_settings_patch,
                      "paused paused_for brake_override policy shadow who "
                      "reason",
                      ""}}},
    {"/v1/cluster", {[HTTP_GET] = {http_cluster_get, NULL, NULL, POLL}}},
    {"/livez", {[HTTP_GET] = {http_livez, NULL, NULL, ""}}},
    {"/readyz", {[HTTP_GET] = {http_readyz, NULL, NULL, ""}}},
    {"/metrics", {[HTTP_GET] = {http_metrics, NULL, NULL, ""}}},
    {"/openapi.yaml", {[HTTP_GET] = {http_openapi, NULL, NULL, ""}}},
    {"/", {[HTTP_GET] = {http_root, NULL, NULL, ""}}},
};

static bool is_there(const struct http_action *a)
{
    return a->handler != NULL || a->on_loop != NULL;
}

/* How many parameters it has, or -1. One that is too long for all is left
 * empty: http_route() says so. */
static int matches(const char *pattern, const char *path,
                   char param[][HTTP_PARAM_MAX + 1])
{
    const char *whole = pattern;
    int n = 0;

    assert(pattern[0] == '/');
    while (*pattern != '\0') {
        size_t len;

        if (pattern[0] != '{') {
            if (*pattern++ != *path++)
                return -1;
            continue;
        }
        len = strcspn(path, "/");
        if (len == 0)
            return -1;
        assert(n < HTTP_PARAMS_MAX);
        if (len <= HTTP_PARAM_MAX)
            memcpy(param[n], path, len);
        param[n++][len <= HTTP_PARAM_MAX ? len : 0] = '\0';
        path += len;
        pattern = strchr(pattern, '}') + 1;
    }
    if (path[0] == '/' && whole[1] != '\0')
        path++;
    return *path == '\0' ? n : -1;
}

/* NULL: none. */
static const struct http_route *
find(const char *path, char param[][HTTP_PARAM_MAX + 1], unsigned *n_params)
{
    *n_params = 0;
    if (strcmp(path, routes[0].path) == 0) /* it has none */
        return &routes[0];
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        int n = matches(routes[i].path, path, param);

        if (n >= 0) {
            *n_params = (unsigned)n;
            return &routes[i];
        }
    }
    return NULL;
}

const struct http_route *http_route_find(const char *path,
                                         char param[][HTTP_PARAM_MAX + 1])
{
    unsigned n;

    return find(path, param, &n);
}

/* As it stands in our paths: small letters, one slash at a time. */
static void plain_path(const char *path, const char *before, char *to, size_t n)
{
    size_t at = (size_t)snprintf(to, n, "%s", before);

    assert(n > 0);
    for (const char *s = path; *s != '\0' && at + 1 < n; s++)
        if (*s != '/' || s[1] != '/')
            to[at++] = (char)tolower((unsigned char)*s);
    to[at] = '\0';
}

/* Where somebody probably wanted to go. */
static void not_found(struct http_request *r, const char *path)
{
    char param[HTTP_PARAMS_MAX][HTTP_PARAM_MAX + 1];
    static const char *const before[] = {"", "/v1"};
    char meant[256];

    assert(path[0] == '/');
    assert(r->action == NULL);
    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        plain_path(path, before[i], meant, sizeof(meant));
        if (http_route_find(meant, param) == NULL)
            continue;
        http_problem(r, PROBLEM_NOT_FOUND,
                     "no such path: %.80s; did you mean %.80s?", path, meant);
        return;
    }
    http_problem(r, PROBLEM_NOT_FOUND,
                 strcasestr(path, "health") != NULL
                     ? "no such path: %.80s; /livez and /readyz tell the health"
                     : "no such path: %.80s; /openapi.yaml lists them",
                 path);
}

/* --- the request's line -------------------------------------------------- */

/* The path of a target: it is one, or "http://host/path"; NULL: neither. */
static const char *path_of(const char *target)
{
    const char *host;

    if (target[0] == '/')
        return target;
    if (strncasecmp(target, "http://", 7) != 0 &&
        strncasecmp(target, "https://", 8) != 0)
        return NULL;
    host = strchr(target, '/') + 2;
    return strchr(host, '/') != NULL ? strchr(host, '/') : "/";
}

/* False: it is none of ours. */
static bool read_method(struct http_request *r, const char *method)
{
    assert(r->method == HTTP_GET);
    r->head = strcmp(method, "HEAD") == 0; /* no body is sent */
    r->bodiless = r->head || strcmp(method, "GET") == 0;
    if (r->bodiless)
        return true;
    for (int i = 0; i < HTTP_METHODS; i++)
        if (strcmp(method, http_method_names[i]) == 0) {
            r->method = (enum http_method)i;
            return true;
        }
    return false;
}

static bool has_params(char param[][HTTP_PARAM_MAX + 1], unsigned n)
{
    assert(n <= HTTP_PARAMS_MAX);
    for (unsigned i = 0; i < n; i++)
        if (param[i][0] == '\0')
            return false;
    return true;
}

static unsigned methods_of(const struct http_route *route)
{
    unsigned set = 0;

    assert(route->path[0] == '/');
    for (unsigned i = 0; i < HTTP_METHODS; i++)
        if (is_there(&route->method[i]))
            set |= 1u << i;
    return set;
}

const char *http_methods_text(unsigned methods, char out[HTTP_METHODS_SIZE])
{
    size_t n = 0;

    assert(methods != 0);
    assert(methods < 1u << HTTP_METHODS);
    for (unsigned i = 0; i < HTTP_METHODS; i++)
        if ((methods >> i & 1u) != 0)
            n += (size_t)snprintf(out + n, HTTP_METHODS_SIZE - n, "%s%s",
                                  n > 0 ? ", " : "", http_method_names[i]);
    assert(n < HTTP_METHODS_SIZE);
    return out;
}

/* OPTIONS: what goes here is in Allow, whatever body came along. Some load
 * balancers probe with it, so there it is answered as GET is. */
static void options(struct http_request *r, const struct http_route *route)
{
    static const struct http_action probes[] = {
        {http_no_content, NULL, "", NULL}, /* the body is dropped */
        {http_livez, NULL, "", NULL},
        {http_readyz, NULL, "", NULL},
    };

    assert(r->action == NULL);
    r->action = &probes[0];
    for (size_t i = 1; i < ARRAY_LEN(probes); i++)
        if (route != NULL &&
            route->method[HTTP_GET].handler == probes[i].handler)
            r->action = &probes[i];
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (route == NULL || route == &routes[i])
            r->allow |= methods_of(&routes[i]);
}

void http_route(struct http_request *r, const char *target, const char *method)
{
    const char *path = path_of(target);
    unsigned n = 0;
    const struct http_route *found =
        path != NULL ? find(path, r->param, &n) : NULL;
    bool known = read_method(r, method);
    char names[HTTP_METHODS_SIZE];

    assert(r->action == NULL);
    assert(r->allow == 0);
    if (!known && strcmp(method, "OPTIONS") == 0 &&
        (found != NULL || strcmp(target, "*") == 0)) {
        options(r, found);
    } else if (path == NULL) {
        http_problem(r, PROBLEM_INVALID,
                     "the target is neither a path nor http://host/path");
    } else if (found == NULL) {
        not_found(r, path);
    } else if (!known || !is_there(&found->method[r->method])) {
        r->allow = methods_of(found);
        http_problem(r, PROBLEM_METHOD_NOT_ALLOWED,
                     "%.16s does not go here; send %s", method,
                     http_methods_text(r->allow, names));
    } else if (!has_params(r->param, n)) {
        http_problem(r, PROBLEM_INVALID,
                     "a part of the path is longer than %d bytes",
                     HTTP_PARAM_MAX);
    } else {
        r->route = found;
        r->n_params = n;
        r->action = &found->method[r->method];
    }
}
