/*
 * routes.c - every route of the API in one table, and what a request's line
 * asks for: its path, its method, and the query parameters it may have.
 *
 * Paths are matched segment by segment; "{}" takes any one segment. Two dozen
 * routes are walked in the order of how often they are asked for. A target in
 * absolute form is its path (a proxy may send it so), and a slash at the end
 * says nothing.
 */
#include "http/http_priv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PAGE "limit cursor"
#define POLL "index wait"

enum { NO_BODY, BODY };

static const struct http_route routes[] = {
    {"/v1/workers/best",
     {[HTTP_GET] = {http_best_get, NO_BODY,
                    "group count affinity exclude peek explain stale " POLL}}},
    {"/v1/picks/{}/done", {[HTTP_POST] = {http_pick_done, NO_BODY, ""}}},
    {"/v1/picks/{}/refused", {[HTTP_POST] = {http_pick_refused, NO_BODY, ""}}},
    {"/v1/nodes/{}/{}",
     {[HTTP_GET] = {http_node_get, NO_BODY, "watch " POLL},
      [HTTP_PUT] = {http_node_put, BODY, "ttl instance takeover"},
      [HTTP_DELETE] = {http_node_delete, NO_BODY, "startupTime instance"}}},
    {"/v1/work/{}",
     {[HTTP_GET] = {http_work_get, NO_BODY, POLL},
      [HTTP_PUT] = {http_work_put, BODY, ""},
      [HTTP_DELETE] = {http_work_delete, NO_BODY, "epoch"}}},
    {"/v1/work",
     {[HTTP_GET] = {http_work_list, NO_BODY, "kind owner state " PAGE " " POLL},
      [HTTP_POST] = {http_work_post, BODY, ""}}},
    {"/v1/fence/check", {[HTTP_POST] = {http_fence_check, BODY, ""}}},
    {"/v1/nodes",
     {[HTTP_GET] = {http_nodes_list, NO_BODY,
                    "kind group state status watch " PAGE " " POLL}}},
    {"/v1/work/{}/handover",
     {[HTTP_POST] = {http_work_handover, NO_BODY, "epoch"}}},
    {"/v1/work/{}/release",
     {[HTTP_POST] = {http_work_release, NO_BODY, "epoch"}}},
    {"/v1/nodes/{}/{}/cordon",
     {[HTTP_PUT] = {http_cordon, NO_BODY, "reason who"},
      [HTTP_DELETE] = {http_cordon, NO_BODY, "reason who"}}},
    {"/v1/nodes/{}/{}/drain",
     {[HTTP_PUT] = {http_drain, NO_BODY, "for reason who"},
      [HTTP_DELETE] = {http_drain, NO_BODY, "reason who"}}},
    {"/v1/nodes/{}/{}/restart",
     {[HTTP_PUT] = {http_restart, NO_BODY, "for reason who"},
      [HTTP_DELETE] = {http_restart, NO_BODY, "reason who"}}},
    {"/v1/groups", {[HTTP_GET] = {http_groups_list, NO_BODY, PAGE " " POLL}}},
    {"/v1/groups/{}",
     {[HTTP_GET] = {http_group_get, NO_BODY, POLL},
      [HTTP_PUT] = {http_group_put, BODY, ""},
      [HTTP_DELETE] = {http_group_delete, NO_BODY, ""}}},
    {"/v1/failovers",
     {[HTTP_GET] = {http_failovers_list, NO_BODY, PAGE " " POLL},
      [HTTP_POST] = {http_failovers_post, BODY, ""}}},
    {"/v1/failovers/{}",
     {[HTTP_GET] = {http_failover_get, NO_BODY, POLL},
      [HTTP_DELETE] = {http_failover_delete, NO_BODY, ""}}},
    {"/v1/settings",
     {[HTTP_GET] = {http_settings_get, NO_BODY, POLL},
      [HTTP_PATCH] = {http_settings_patch, BODY, ""}}},
    {"/v1/cluster", {[HTTP_GET] = {http_cluster_get, NO_BODY, POLL}}},
    {"/livez", {[HTTP_GET] = {http_livez, NO_BODY, ""}}},
    {"/readyz", {[HTTP_GET] = {http_readyz, NO_BODY, ""}}},
    {"/openapi.yaml", {[HTTP_GET] = {http_openapi, NO_BODY, ""}}},
    {"/", {[HTTP_GET] = {http_root, NO_BODY, ""}}},
};

/* A parameter that is too long for all is left empty: http_route() says so. */
static bool matches(const char *pattern, const char *path,
                    char param[][HTTP_PARAM_MAX + 1])
{
    const char *whole = pattern;
    unsigned n = 0;

    assert(pattern[0] == '/');
    while (*pattern != '\0') {
        size_t len;

        if (pattern[0] != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        len = strcspn(path, "/");
        if (len == 0)
            return false;
        assert(n < HTTP_PARAMS_MAX);
        if (len <= HTTP_PARAM_MAX)
            memcpy(param[n], path, len);
        param[n++][len <= HTTP_PARAM_MAX ? len : 0] = '\0';
        path += len;
        pattern += 2;
    }
    if (path[0] == '/' && whole[1] != '\0')
        path++;
    return *path == '\0';
}

const struct http_route *http_route_find(const char *path,
                                         char param[][HTTP_PARAM_MAX + 1])
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (matches(routes[i].path, path, param))
            return &routes[i];
    return NULL;
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
    assert(r->handler == NULL);
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
    r->head = strcmp(method, "HEAD") == 0;
    r->bodiless = r->head || strcmp(method, "GET") == 0;
    if (r->head)
        return true; /* HTTP_GET, and no body is sent */
    for (int i = 0; i < HTTP_METHODS; i++)
        if (strcmp(method, http_method_names[i]) == 0) {
            r->method = (enum http_method)i;
            return true;
        }
    return false;
}

static bool has_params(const struct http_route *route,
                       char param[][HTTP_PARAM_MAX + 1])
{
    const char *p = strchr(route->path, '{');

    for (unsigned n = 0; p != NULL; p = strchr(p + 1, '{'))
        if (param[n++][0] == '\0')
            return false;
    return true;
}

static unsigned methods_of(const struct http_route *route)
{
    unsigned set = 0;

    assert(route->path[0] == '/');
    for (unsigned i = 0; i < HTTP_METHODS; i++)
        if (route->method[i].handler != NULL)
            set |= 1u << i;
    return set;
}

static void wrong_method(struct http_request *r, const char *method)
{
    char names[64] = "";
    size_t n = 0;

    assert(r->allow != 0);
    assert(r->handler == NULL);
    for (unsigned i = 0; i < HTTP_METHODS; i++)
        if ((r->allow >> i & 1u) != 0)
            n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s",
                                  n > 0 ? ", " : "", http_method_names[i]);
    http_problem(r, PROBLEM_METHOD_NOT_ALLOWED,
                 "%.16s does not go here; send %s", method, names);
}

/* OPTIONS: what goes here is in Allow, whatever body came along. Some load
 * balancers probe with it, so there it is answered as GET is. */
static void options(struct http_request *r, const struct http_route *route)
{
    assert(r->handler == NULL);
    r->handler = http_no_content;
    r->takes_body = true; /* and drops it */
    if (route != NULL && (route->method[HTTP_GET].handler == http_livez ||
                          route->method[HTTP_GET].handler == http_readyz))
        r->handler = route->method[HTTP_GET].handler;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (route == NULL || route == &routes[i])
            r->allow |= methods_of(&routes[i]);
}

void http_route(struct http_request *r, const char *target, const char *method)
{
    const char *path = path_of(target);
    const struct http_route *found =
        path != NULL ? http_route_find(path, r->param) : NULL;
    bool known = read_method(r, method);

    assert(r->handler == NULL);
    assert(r->allow == 0);
    if (strcmp(method, "OPTIONS") == 0 &&
        (found != NULL || strcmp(target, "*") == 0)) {
        options(r, found);
    } else if (path == NULL) {
        http_problem(r, PROBLEM_INVALID,
                     "the target is neither a path nor http://host/path");
    } else if (found == NULL) {
        not_found(r, path);
    } else if (known && found->method[r->method].handler != NULL &&
               !has_params(found, r->param)) {
        http_problem(r, PROBLEM_INVALID,
                     "a part of the path is longer than %d bytes",
                     HTTP_PARAM_MAX);
    } else if (known && found->method[r->method].handler != NULL) {
        r->handler = found->method[r->method].handler;
        r->query = found->method[r->method].query;
        r->takes_body = found->method[r->method].body;
    } else {
        r->allow = methods_of(found);
        wrong_method(r, method);
    }
}
